"""ONNX Runtime as the other side of a replay: every tensor of a file, at each of its levels of optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.onnx_file import OnnxFile, parse_onnx

#: name on the command line → level of optimisation
LEVELS = {
    "onnxruntime": "ORT_ENABLE_ALL",
    "onnxruntime-disable-all": "ORT_DISABLE_ALL",
    "onnxruntime-basic": "ORT_ENABLE_BASIC",
    "onnxruntime-extended": "ORT_ENABLE_EXTENDED",
    "onnxruntime-all": "ORT_ENABLE_ALL",
}


def version() -> str:
    """Of the installed ONNX Runtime. ModuleNotFoundError where there is none."""
    try:
        return metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError("ONNX Runtime is not installed", name="onnxruntime") from None


def optimized(path: str | Path, kind: str) -> tuple[OnnxFile, bytes]:
    """The file as the runtime runs it at a level (a name of LEVELS): what it merged is merged there."""
    import onnxruntime

    path = Path(path)
    if LEVELS[kind] == "ORT_DISABLE_ALL":
        data = path.read_bytes()
        return parse_onnx(data, path), data
    with TemporaryDirectory() as folder:
        options = _options(LEVELS[kind])
        options.optimized_model_filepath = str(Path(folder) / path.name)
        _call(path, lambda: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
        data = Path(options.optimized_model_filepath).read_bytes()
    return parse_onnx(data, path), data


class Session:
    """A file that shows every tensor; nothing is optimised, one thread. data: of the file; path: where it lay."""

    def __init__(self, data: bytes, path: str | Path = "model.onnx") -> None:
        import onnx
        import onnxruntime

        model = onnx.ModelProto.FromString(data)
        shown = {value.name for value in model.graph.output}
        for node in model.graph.node:
            for name in node.output:
                if name and name not in shown:
                    shown.add(name)
                    model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = _options("ORT_DISABLE_ALL")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(Path(path).parent))
        content = model.SerializeToString()
        self._path = path
        self._session = _call(
            path, lambda: onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def tensors(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every tensor by name. inputs: by name, in the file's types."""
        return dict(zip(self._names, _call(self._path, lambda: self._session.run(None, dict(inputs))), strict=True))


def _options(level: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return options


def _call(path, function):
    try:
        return function()
    except Exception as error:  # the runtime has classes of its own for each kind of failure
        raise AccelsimError(f"ONNX Runtime cannot run {path}: {' '.join(str(error).split())[:500]}") from error
