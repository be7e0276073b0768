"""From a MODEL argument and data files to what `accelsim.from_torch` and `accelsim.evaluate` take."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim.cli._output import progress
from accelsim.errors import AccelsimError

if TYPE_CHECKING:
    import numpy as np

    from accelsim.graph import IntegerGraph

CALIBRATION_SAMPLES = 256
_DEMO = "demo:"
#: files of other tools that hold a quantized network → the reader in accelsim
FORMATS = {".tflite": "from_tflite", ".onnx": "from_onnx"}


@dataclass(frozen=True)
class Network:
    """A saved graph, or a float network (torch.nn.Module or ExportedProgram) that can be quantized.

    name: what reports call it. data: (inputs, labels), calibration: inputs; demo networks bring them along.
    file: a file of another tool, which can be read under other profiles.
    """

    name: str
    graph: IntegerGraph | None = None
    model: Any = None
    data: tuple[np.ndarray, np.ndarray] | None = None
    calibration: np.ndarray | None = None
    file: Path | None = None


def load_graph(path: Path, profile: str | None = None) -> IntegerGraph:
    """A saved graph, or a quantized network of another tool (FORMATS); profile: whose rounding the latter follows."""
    import accelsim as acs

    reader = FORMATS.get(path.suffix)
    if reader is None:
        return acs.load(path)
    return getattr(acs, reader)(path, **({} if profile is None else {"profile": profile}))


def load_network(name: str, seed: int = 0) -> Network:
    """MODEL as the command line takes it. AccelsimError says what was tried."""
    path = Path(name)
    if path.suffix == ".pt2":
        from accelsim.frontend.exported import load_exported

        return Network(path.stem, model=load_exported(path))
    if path.is_file():
        graph = load_graph(path)
        return Network(graph.name, graph=graph, file=path if path.suffix in FORMATS else None)
    if name.startswith(_DEMO):
        return demo_network(name.removeprefix(_DEMO), seed)
    if ":" in name:
        return Network(name.rpartition(":")[2], model=_built(name))
    raise AccelsimError(f"{name}: no such file; a network that is built by code is named module:function")


def load_float_network(name: str, what: str) -> Network:
    """As load_network; AccelsimError where the network is already quantized, as `what` needs the float one."""
    network = load_network(name)
    if network.model is None:
        raise AccelsimError(f"{name} is already quantized: {what} needs the float network")
    return network


def demo_network(name: str, seed: int = 0) -> Network:
    """A demo network, trained at the first use, with the digits."""
    from accelsim.frontend import digits

    with progress(f"training {name}, seed {seed} (once: the weights are kept)", "epochs") as advance:
        model = digits.trained(name, seed, progress=advance)
    data = digits.load_digits_data()
    return Network(name, None, model, (data.test_images, data.test_labels), data.calibration)


def quantized(network: Network, calibration: np.ndarray | None, options: dict[str, Any]) -> IntegerGraph:
    """The network as integers; a saved graph already is, and takes no options."""
    import accelsim as acs

    if network.graph is None:
        with progress("quantizing", "layers") as advance:
            graph = acs.from_torch(
                network.model, calibration, progress=lambda _, done, whole: advance(done, whole), **options
            )
        return replace(graph, name=network.name)
    if network.file is not None and set(options) == {"profile"}:
        return load_graph(network.file, options["profile"])
    if options:
        raise AccelsimError(f"a saved graph is already quantized: leave out {', '.join(sorted(options))}")
    return network.graph


def data_for(network: Network, path: Path | None) -> tuple[np.ndarray, np.ndarray | None]:
    """(inputs, labels) of --data, else those a demo network brings along."""
    if path is not None:
        arrays = read_arrays(path)
        return _as_reals(network, arrays["inputs"]), arrays.get("labels")
    if network.data is None:
        raise AccelsimError("--data is needed: an .npz file with the arrays inputs and labels")
    return network.data


def _as_reals(network: Network, inputs: np.ndarray) -> np.ndarray:
    """Inputs of another tool's file that are codes in its own type, as the real numbers that they stand for."""
    if network.file is None or network.graph is None or len(network.graph.inputs) != 1:
        return inputs
    from accelsim.quant import QuantParams, dequantize

    params = network.graph.tensors[network.graph.inputs[0]].params
    if not isinstance(params, QuantParams) or inputs.dtype != params.dtype:
        return inputs
    return dequantize(inputs, params)


def calibration_for(network: Network, path: Path | None, inputs: np.ndarray) -> np.ndarray:
    """Inputs to set ranges from: --calibration, a demo network's own, else the first of the inputs."""
    if path is not None:
        return read_arrays(path)["inputs"][:CALIBRATION_SAMPLES]
    return inputs[:CALIBRATION_SAMPLES] if network.calibration is None else network.calibration


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays "inputs" and, where it is there, "labels" of an .npz file; x and y are taken for them."""
    import zipfile

    import numpy as np

    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise AccelsimError(f"no such file: {path}") from None
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise AccelsimError(
            f"{path} is not an .npz file of plain arrays ({error}): use numpy.savez(path, inputs=…, labels=…)"
        ) from error
    names = {"x": "inputs", "input": "inputs", "y": "labels"}
    arrays = {names.get(name, name): array for name, array in arrays.items()}
    if "inputs" not in arrays:
        raise AccelsimError(f"{path} holds {sorted(arrays) or 'no arrays'}: an array 'inputs' (or 'x') is needed")
    return arrays


def _built(name: str) -> Any:
    """What module:function returns; the working directory is searched first."""
    module_name, _, function_name = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise AccelsimError(f"importing {module_name} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise AccelsimError(f"module {module_name} has no function {function_name!r}")
    try:
        return function()
    except Exception as error:
        raise AccelsimError(f"{name}() failed: {type(error).__name__}: {error}") from error
