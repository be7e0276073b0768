"""The operators of a .tflite file in order: what can be lowered is, all that cannot be is named at once."""

from __future__ import annotations

from collections.abc import Sequence

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers.lowering import Lowering
from accelsim.importers.registry import LOWERINGS, OPERANDS, UnsupportedError
from accelsim.importers.tflite_file import FileOperator, TfliteFile
from accelsim.importers.tflite_grids import CODES
from accelsim.ops.base import TensorInfo
from accelsim.profiles import NumericProfile
from accelsim.quant import QuantParams

_MAX_NODES = 1 << 16


class Walk:
    """One file on its way to a graph; whole: see Lowering."""

    def __init__(self, file: TfliteFile, profile: NumericProfile, whole: bool = False) -> None:
        self.file = file
        self.to = Lowering(file, profile, whole)
        self._unknown: set[int] = set()
        self._values: set[int] = set()  # shapes that are computed in the file

    def graph(self, name: str, notes: Sequence[str]) -> IntegerGraph:
        """The whole graph. AccelsimError lists everything in the file that cannot be lowered."""
        problems: list[str] = []
        inputs = [self._input(index, problems) for index in self.file.inputs]
        for op in self.file.operators:
            self.to.begin()
            if op.kind not in LOWERINGS:
                problem = None if self._computes_shapes(op) else "is not supported"
            elif self._unknown & set(op.inputs):
                problem = None  # what follows an operator that failed
                self._unknown |= set(op.outputs)
            elif self._computes_shapes(op):
                problem = None
            else:
                problem = self._lower(op)
            if problem is not None:
                problems.append(f"{op.where}: {problem}")
                self._unknown |= set(op.outputs)
            if len(self.to.ops) > _MAX_NODES:
                raise AccelsimError(f"{self.file.path} asks for more than {_MAX_NODES} operators")
        outputs = []
        for index in self.file.outputs:
            if index in self.to.names:
                outputs.append(self.to.names[index])
            elif not problems:
                problems.append(f"output {self.file.tensors[index].name!r} is never computed as codes")
        if problems:
            unique = list(dict.fromkeys(problems))
            shown = "; ".join(unique[:20]) + (f"; and {len(unique) - 20} more" if len(unique) > 20 else "")
            raise AccelsimError(
                f"{self.file.path} under profile {self.to.profile.name!r} needs what is not there: {shown}"
            )
        used = {name for op in self.to.ops for name in (*op.inputs, op.output)} | set(outputs)
        return IntegerGraph(
            ops=tuple(self.to.ops),
            inputs=tuple(dict.fromkeys(name for name in inputs if name is not None)),
            outputs=tuple(dict.fromkeys(outputs)),
            tensors={name: info for name, info in self.to.tensors.items() if name in used or name in inputs},
            profile=self.to.profile.name,
            name=name,
            notes=tuple(notes),
        )

    def _lower(self, op: FileOperator) -> str | None:
        touched = {self.file.tensors[i].type for i in (*op.inputs, *op.outputs) if i >= 0}
        if op.kind not in ("QUANTIZE", "DEQUANTIZE") and touched & {"UINT8", "UINT16"}:
            return "computes with unsigned codes; those of signed 8 and 16 bits are known"
        before, wanted = len(self.to.ops), OPERANDS.get(op.kind, 1)
        if len(op.inputs) < wanted or not op.outputs or min(*op.inputs[:wanted], *op.outputs, 0) < 0:
            return f"has operands {op.inputs} and results {op.outputs}; it needs {wanted} and at least 1"
        try:
            LOWERINGS[op.kind](op, self.to)
        except (UnsupportedError, AccelsimError) as error:
            del self.to.ops[before:]
            return str(error)
        except (ValueError, OverflowError) as error:  # parameters that no kernel takes
            del self.to.ops[before:]
            return str(error)
        return None

    def _input(self, index: int, problems: list[str]) -> str | None:
        tensor = self.file.tensors[index]
        if any(axis > 0 for axis in tensor.dynamic):
            problems.append(f"input {tensor.name!r}: axes {tensor.dynamic} of {tensor.shape} have no fixed length")
            self._unknown.add(index)
            return None
        if tensor.type == "FLOAT32":  # its QUANTIZE operator defines the input of the graph
            readers = [op for op in self.file.operators if index in op.inputs]
            grids = {op.outputs[0] for op in readers if op.kind == "QUANTIZE" and len(op.outputs) == 1}
            if len(grids) == 1 and all(op.kind == "QUANTIZE" for op in readers):
                (quantized,) = grids
                if self.file.tensors[quantized].type in CODES:
                    return self._define_input(quantized, problems)
            problems.append(f"input {tensor.name!r} is FLOAT32, and not turned into codes by one QUANTIZE operator")
        elif tensor.type in ("INT32", "INT64"):
            return self._define_input(index, problems, QuantParams(1.0, 0, 16, False))
        elif tensor.type in CODES:
            return self._define_input(index, problems)
        else:
            problems.append(f"input {tensor.name!r} is {tensor.type}")
        self._unknown.add(index)
        return None

    def _define_input(self, index: int, problems: list[str], params: QuantParams | None = None) -> str | None:
        name = self.to.unique[index]
        if index in self.to.names:
            return name
        try:
            self.to.tensors[name] = TensorInfo(self.to.sample_shape(index), params or self.to.params(index))
        except (UnsupportedError, AccelsimError) as error:
            problems.append(f"input {name!r}: {error}")
            self._unknown.add(index)
            return None
        self.to.names[index] = name
        return name

    def _computes_shapes(self, op: FileOperator) -> bool:
        """Whether an operator only computes with shapes: what it gives is recorded in the file already."""
        wide = all(self.file.tensors[index].type in ("INT32", "INT64") for index in op.outputs)
        known = all(i in self._values or i < 0 or self.file.tensors[i].constant is not None for i in op.inputs)
        if not op.outputs or not wide or not (known or op.kind == "SHAPE"):
            return False
        self._values |= set(op.outputs)
        return True
