"""from_tflite(path) → IntegerGraph: the operators of a .tflite file under a runtime's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from accelsim.errors import AccelsimError
from accelsim.extras import needs_parts
from accelsim.graph import IntegerGraph
from accelsim.importers import (  # noqa: F401
    tflite_arithmetic,
    tflite_functions,
    tflite_mac,
    tflite_movement,
    tflite_reductions,
)
from accelsim.importers.tflite_file import TfliteFile, read_tflite
from accelsim.importers.tflite_walk import Walk
from accelsim.profiles import load_profile

#: names of runtimes that stand for a numeric profile
RUNTIMES = {
    "litert": "xnnpack",
    "litert-xnnpack": "xnnpack",
    "litert-ruy": "tflite-ruy",
    "litert-ref": "tflite-reference",
    "litert-reference": "tflite-reference",
}
#: what a .tflite file is taken to mean where nothing is said
DEFAULT_PROFILE = "tflite-reference"


NOTE = "The file does not say whose arithmetic it means: here it is that of {}, {}."


@dataclass(frozen=True)
class LoweredFile:
    """A file, its graph, and what belongs together: operator of the graph → index of the file's operator, tensor
    number of the file → tensor of the graph, samples of one invocation of the file.
    """

    file: TfliteFile
    graph: IntegerGraph
    sources: Mapping[str, int]
    names: Mapping[int, str]
    batch: int = 1


@needs_parts
def from_tflite(path: str | Path, profile: str = DEFAULT_PROFILE) -> IntegerGraph:
    """The integer network of a .tflite file.

    Tensors keep their names and grids; operators are called kind_index after their place in the file, and tensors have
    the file's layout (NHWC). Any number of samples can be simulated: one is one invocation of the file. Real inputs
    (QUANTIZE first) and outputs (DEQUANTIZE last) are codes with their grid here.
    profile: whose rounding to follow, a name of accelsim.list_profiles(), or litert, litert-ruy, litert-reference for
        the default delegate (XNNPACK), the built-in optimized and the reference kernels of LiteRT. The file itself
        does not say; the default is the reference.
    Raises AccelsimError where the file is missing, corrupt or absurd, or listing all that it needs and is not there.
    """
    return lower_tflite(read_tflite(path), profile).graph


def lower_tflite(file: TfliteFile, profile: str = DEFAULT_PROFILE) -> LoweredFile:
    """As from_tflite(), of a file that is read already, with what belongs to which operator of the file."""
    numerics = load_profile(RUNTIMES.get(profile, profile))
    notes = (NOTE.format(numerics.name, numerics.runtime),)
    walk = Walk(file, numerics)
    try:
        graph = walk.graph(Path(file.path).stem, notes)
    except AccelsimError as error:
        if walk.to.batch == 1:
            raise
        walk = Walk(file, numerics, whole=True)  # what leads its shapes is no batch
        try:
            graph = walk.graph(Path(file.path).stem, notes)
        except AccelsimError:
            raise error from None
    return LoweredFile(file, graph, walk.to.sources, walk.to.names, walk.to.batch)
