"""Random files: operators on pairs of tensors, functions of one code, softmax."""

from __future__ import annotations

from one_operator import SINGLE, Case, One, Rng


def _pair(rng: Rng, name: str, options: str | None, kind="INT8", same=False) -> Case:
    one = One(rng, kind)
    shape = one.shape(24 if rng.random() < 0.2 else 8, 2)
    repeated = [n if rng.random() < 0.5 else 1 for n in shape[1:]]
    other = [shape, shape, [1, *([1] * (len(shape) - 2)), shape[-1]], [1] * len(shape),
             [one.batch, *repeated]][rng.integers(0, 5)]  # fmt: skip
    grid = one.grid()
    a = one.input(shape, grid)
    if rng.random() < 0.3:
        code = rng.integers(-128, 128, other if rng.random() < 0.5 or other[0] > 1 else other[1:])
        b = one.constant(code, kind, **(grid if same else one.grid()))
    else:
        b = one.input(other, grid if same else None)
    inputs = [a, b] if rng.random() < 0.7 else [b, a]
    y = one.output(shape, grid if same else (one.grid(0.001, 0.01) if name == "MUL" else one.grid(0.02, 0.1)))
    fields = {} if same or name == "SQUARED_DIFFERENCE" else {"FusedActivationFunction": int(rng.integers(0, 4))}
    if options in ("AddOptions", "SubOptions"):
        fields["PotScaleInt16"] = False
    one.model.operator(name, inputs, [y], options, **fields)
    return one.done(y)


for _name, _options in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")):
    SINGLE[_name.lower()] = lambda rng, n=_name, o=_options: _pair(rng, n, o)
    SINGLE[_name.lower() + "_int16"] = lambda rng, n=_name, o=_options: _pair(rng, n, o, "INT16")
for _name in ("MAXIMUM", "MINIMUM"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _pair(rng, n, "MaximumMinimumOptions", same=True)


def _unary(rng: Rng, name: str, kind="INT8", options=None, grid=None, wide=(0.02, 0.1), **fields) -> Case:
    one = One(rng, kind)
    shape = one.shape(16)
    x = one.input(shape, one.grid(*wide))
    same = one.model.tensors[x]
    if rng.random() < 0.2 and grid is None:
        grid = {"scale": same["scale"], "zero_point": same["zero_point"]}
    y = one.output(shape, grid)
    one.model.operator(name, [x], [y], options, **fields)
    return one.done(y)


_LOGISTIC, _TANH = {"scale": 1 / 256, "zero_point": -128}, {"scale": 1 / 128, "zero_point": 0}
SINGLE["logistic"] = lambda rng: _unary(rng, "LOGISTIC", grid=_LOGISTIC)
SINGLE["tanh"] = lambda rng: _unary(rng, "TANH", grid=_TANH)
_WIDE16 = {"scale": 1 / 32768, "zero_point": 0}
SINGLE["logistic_int16"] = lambda rng: _unary(rng, "LOGISTIC", "INT16", grid=_WIDE16)
SINGLE["tanh_int16"] = lambda rng: _unary(rng, "TANH", "INT16", grid=_WIDE16)
SINGLE["elu"] = lambda rng: _unary(rng, "ELU")
SINGLE["gelu"] = lambda rng: _unary(rng, "GELU", options="GeluOptions", Approximate=bool(rng.random() < 0.5))
SINGLE["exp"] = lambda rng: _unary(rng, "EXP")
SINGLE["log"] = lambda rng: _unary(rng, "LOG")
SINGLE["abs"] = lambda rng: _unary(rng, "ABS")
SINGLE["hard_swish"] = lambda rng: _unary(rng, "HARD_SWISH", options="HardSwishOptions")
for _name in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _unary(rng, n)
for _name in ("RELU", "RELU6"):
    SINGLE[_name.lower() + "_int16"] = lambda rng, n=_name: _unary(rng, n, "INT16")
SINGLE["leaky_relu"] = lambda rng: _unary(rng, "LEAKY_RELU", options="LeakyReluOptions", Alpha=rng.uniform(0.01, 0.5))
SINGLE["leaky_relu_int16"] = lambda rng: _unary(
    rng, "LEAKY_RELU", "INT16", options="LeakyReluOptions", Alpha=rng.uniform(0.01, 0.5)
)
SINGLE["requantize"] = lambda rng: _unary(rng, "QUANTIZE", options="QuantizeOptions")
SINGLE["requantize_int16"] = lambda rng: _unary(rng, "QUANTIZE", "INT16", options="QuantizeOptions")


def _rsqrt(rng: Rng) -> Case:
    """Of what is not negative: the runtime refuses the rest."""
    one = One(rng)
    shape = one.shape(16)
    x = one.input(shape, {**one.grid(), "zero_point": -128})
    y = one.output(shape, one.grid(0.01, 0.2))
    one.model.operator("RSQRT", [x], [y])
    return one.done(y)


SINGLE["rsqrt"] = _rsqrt
SINGLE["squared_difference"] = lambda rng: _pair(rng, "SQUARED_DIFFERENCE", "SquaredDifferenceOptions")


def _unsigned(rng: Rng, to_unsigned: bool) -> Case:
    """Unsigned codes at the ends of a file: the same scale, zero points 128 apart, or any other grid."""
    one = One(rng, "INT8" if to_unsigned else "UINT8")
    grid = one.grid()
    x = one.input([1, int(rng.integers(1, 60))], grid)
    shift = 128 if to_unsigned else -128
    other = {"scale": grid["scale"], "zero_point": grid["zero_point"] + shift}
    if rng.random() < 0.5:
        other = {"scale": one.grid()["scale"], "zero_point": other["zero_point"]}
    y = one.model.tensor("y", one.model.tensors[x]["shape"], "UINT8" if to_unsigned else "INT8", **other)
    one.model.operator("QUANTIZE", [x], [y], "QuantizeOptions")
    return one.done(y)


SINGLE["from_unsigned"] = lambda rng: _unsigned(rng, False)
SINGLE["to_unsigned"] = lambda rng: _unsigned(rng, True)


def _softmax(rng: Rng, kind="INT8", wider: bool = False) -> Case:
    one = One(rng, kind)
    shape = [*one.shape(12, 1, 3), int(rng.integers(1, 100))]
    x = one.input(shape, one.grid(0.01, 0.3))
    grid = {"scale": 1 / 256, "zero_point": -128} if kind == "INT8" else {"scale": 1 / 32768, "zero_point": 0}
    y = one.model.tensor("y", shape, "INT16", scale=1 / 65536, zero_point=-32768) if wider else one.output(shape, grid)
    one.model.operator("SOFTMAX", [x], [y], "SoftmaxOptions", Beta=float(rng.choice([1.0, 1.0, 0.5, 0.1])))
    return one.done(y)


SINGLE["softmax"] = lambda rng: _softmax(rng)
SINGLE["softmax_int16"] = lambda rng: _softmax(rng, "INT16")
SINGLE["softmax_int8_to_int16"] = lambda rng: _softmax(rng, wider=True)
