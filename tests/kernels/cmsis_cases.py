"""CMSIS-NN's unit-test vectors as calls of the kernels: one function per operator."""

from __future__ import annotations

import json
import re

import numpy as np
from shared_material import SHARED

FOLDER = SHARED / "vectors" / "cmsis-nn" if SHARED else None
INDEX = json.loads((FOLDER / "index.json").read_text()) if FOLDER else []

_NAMES = {
    "input_weights": "weights",
    "input_bias": "biases",
    "bias": "biases",
    "output_multiplier": "output_mult",
    "output": "output_ref",
    "output_tensor": "output_ref",
}


def load(case: dict) -> dict[str, np.ndarray]:
    """The arrays of a case, the files' several spellings of one name brought to one."""
    with np.load(FOLDER / case["file"]) as arrays:
        return {_NAMES.get(name, name): arrays[name] for name in arrays.files}


def _output(c: dict, requant: str | None, multiplier, shift) -> dict:
    """Keywords of requantize for a case."""
    clamp = {
        "zero_point": c.get("output_offset", 0),
        "qmin": c.get("out_activation_min", c.get("activation_min", -128)),
        "qmax": c.get("out_activation_max", c.get("activation_max", 127)),
    }
    scheme = "tflite-int16x8" if requant == "s64_reduced16" else "cmsis-nn"
    return {"scheme": scheme, "multiplier": multiplier, "shift": shift, **clamp}


def _weights(case: dict, arrays: dict, count: int) -> np.ndarray:
    """Flat weights; two 4-bit weights a byte, the first in the low nibble."""
    flat = arrays["weights"]
    if not case["int4_packed"]:
        return flat
    packed = flat.view(np.uint8).astype(np.int16)
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[:count]
    return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)


def _bias(arrays: dict):
    bias = arrays.get("biases")
    return None if bias is None or bias.size == 0 else bias.astype(np.int64)


def _padding(c: dict, height: int, width: int, dilation: tuple[int, int]) -> tuple:
    """Bottom and right padding follow from the output's size."""
    edges = []
    for size, axis, d in ((height, "y", dilation[0]), (width, "x", dilation[1])):
        outputs = c["output_h" if axis == "y" else "output_w"]
        reach = (outputs - 1) * c[f"stride_{axis}"] + (c[f"filter_{axis}"] - 1) * d + 1
        edges.append((c[f"pad_{axis}"], max(reach - size - c[f"pad_{axis}"], 0)))
    return tuple(edges)


def _accumulator(case: dict) -> dict:
    return {"accumulator_bits": 48 if case["requant"] == "s64_reduced16" else 32}


def conv(k, case, a):
    c = case["cfg"]
    height, width, channels = c["input_h"], c["input_w"], c["in_ch"]
    x = a["input"].reshape(-1, height, width, channels)
    taps = c["filter_y"] * c["filter_x"]
    flat = _weights(case, a, _weight_count(case, a, taps))
    w = flat.reshape(c["out_ch"], c["filter_y"], c["filter_x"], -1)
    dilation = (c.get("dilation_y", 1), c.get("dilation_x", 1))
    return k.conv2d(
        x, w, bias=_bias(a), stride=(c["stride_y"], c["stride_x"]), dilation=dilation,
        padding=_padding(c, height, width, dilation), groups=channels // w.shape[3], **_accumulator(case),
        x_zero_point=-c["input_offset"], requantize=_output(c, case["requant"], a["output_mult"], a["output_shift"]),
    )  # fmt: skip


def _weight_count(case: dict, a: dict, taps: int) -> int | None:
    c = case["cfg"]
    return c["out_ch"] * taps * (c["in_ch"] if case["op"] == "conv" else 1) if case["int4_packed"] else None


def dwconv(k, case, a):
    c = case["cfg"]
    height, width, channels = c["input_h"], c["input_w"], c["in_ch"]
    x = a["input"].reshape(-1, height, width, channels)
    flat = _weights(case, a, _weight_count(case, a, c["filter_y"] * c["filter_x"]))
    w = flat.reshape(c["filter_y"], c["filter_x"], c["out_ch"]).transpose(2, 0, 1)[..., None]
    dilation = (c.get("dilation_y", 1), c.get("dilation_x", 1))
    return k.conv2d(
        x, w, bias=_bias(a), stride=(c["stride_y"], c["stride_x"]), dilation=dilation,
        padding=_padding(c, height, width, dilation), groups=channels, x_zero_point=-c["input_offset"],
        **_accumulator(case), requantize=_output(c, case["requant"], a["output_mult"], a["output_shift"]),
    )  # fmt: skip


def fc(k, case, a):
    c = case["cfg"]
    depth, out = c["accumulation_depth"], c["out_ch"]
    w = _weights(case, a, depth * out if case["int4_packed"] else None).reshape(out, depth)
    multiplier = a.get("output_mult", c.get("output_multiplier"))
    shift = a.get("output_shift", c.get("output_shift"))
    return k.matmul(
        a["input"].reshape(-1, depth), np.ascontiguousarray(w.T), bias=_bias(a), **_accumulator(case),
        a_zero_point=-c["input_offset"], b_zero_point=-c.get("filter_offset", 0),
        requantize=_output(c, case["requant"], multiplier, shift),
    )  # fmt: skip


def batch_matmul(k, case, a):
    c = case["cfg"]
    lhs = a["lhs_input_tensor"].reshape(c["lhs_batch"], c["lhs_height"], c["lhs_rows"], c["lhs_cols"])
    rhs = a["rhs_input_tensor"].reshape(c["rhs_batch"], c["rhs_height"], c["rhs_rows"], c["rhs_cols"])
    lhs = lhs.swapaxes(-1, -2) if c["adj_x"] else lhs
    rhs = rhs.swapaxes(-1, -2) if c["adj_y"] else rhs
    if lhs.shape[-1] != rhs.shape[-2]:
        rhs = a["rhs_input_tensor"].reshape(*rhs.shape[:2], lhs.shape[-1], -1)
    return k.batch_matmul(
        lhs, rhs, a_zero_point=-c["lhs_offset"], b_zero_point=-c["rhs_offset"], **_accumulator(case),
        requantize=_output(c, case["requant"], c["output_multiplier"], c["output_shift"]),
    )  # fmt: skip


def transpose_conv(k, case, a):
    c = case["cfg"]
    x = a["input"].reshape(-1, c["input_h"], c["input_w"], c["in_ch"])
    w = a["weights"].reshape(c["out_ch"], c["filter_y"], c["filter_x"], c["in_ch"])
    return k.transpose_conv2d(
        x, w, bias=_bias(a), stride=(c["stride_y"], c["stride_x"]), padding=(c["pad_y"], c["pad_x"]),
        output_size=(c["output_h"], c["output_w"]), x_zero_point=-c["input_offset"],
        requantize=_output(c, None, a["output_mult"], a["output_shift"]),
    )  # fmt: skip


def add(k, case, a):
    c = case["cfg"]
    return k.add(
        a["input1"], a["input2"], arithmetic="rescale", scheme="cmsis-nn", left_shift=c["left_shift"],
        a_zero_point=-c["input1_offset"], b_zero_point=-c["input2_offset"], zero_point=c["output_offset"],
        qmin=c["out_activation_min"], qmax=c["out_activation_max"],
        a_multiplier=c["input1_mult"], a_shift=c["input1_shift"], b_multiplier=c["input2_mult"],
        b_shift=c["input2_shift"], multiplier=c["output_mult"], shift=c["output_shift"],
    )  # fmt: skip


def mul(k, case, a):
    c = case["cfg"]
    return k.mul(
        a["input1"], a["input2"], a_zero_point=-c["input1_offset"], b_zero_point=-c["input2_offset"],
        requantize=_output(c, None, c["output_mult"], c["output_shift"]),
    )  # fmt: skip


def _pool_geometry(c: dict) -> dict:
    edges = []
    for side in "hw":
        pad, stride, window = c[f"padding_{side}"], c[f"stride_{side}"], c[f"filter_{side}"]
        reach = (c[f"output_{side}"] - 1) * stride + window
        edges.append((pad, max(reach - c[f"input_{side}"] - pad, 0)))
    window = (c["filter_h"], c["filter_w"])
    return {"window": window, "stride": (c["stride_h"], c["stride_w"]), "padding": tuple(edges),
            "qmin": c["activation_min"], "qmax": c["activation_max"]}  # fmt: skip


def maxpool(k, case, a):
    c = case["cfg"]
    return k.max_pool2d(a["input_tensor"].reshape(-1, c["input_h"], c["input_w"], c["input_c"]), **_pool_geometry(c))


def avgpool(k, case, a):
    c = case["cfg"]
    x = a["input_tensor"].reshape(-1, c["input_h"], c["input_w"], c["input_c"])
    return k.average_pool2d(x, arithmetic="raw-codes", **_pool_geometry(c))


def softmax(k, case, a):
    c = case["cfg"]
    x = a["input"].reshape(c["num_rows"], c["row_size"])
    how = {"multiplier": c["input_mult"], "shift": c["input_left_shift"]}
    if case["q"] == "s16":
        return k.softmax(x, arithmetic="table", **how)
    bits = 16 if case["q"] == "s8_s16" else 8
    return k.softmax(x, arithmetic="gemmlowp", diff_min=c["diff_min"], output_bits=bits, **how)


def maxmin(k, case, a):
    c = case["cfg"]
    shapes = [tuple(c[f"{n}_{i}"] for n in ("batch", "height", "width", "channel")) for i in (1, 2)]
    tensors = [a[f"input_tensor_{i}"].reshape(s) for i, s in zip((1, 2), shapes, strict=True)]
    return (k.minimum if c["layer_type"] == "minimum" else k.maximum)(*tensors)


def pad(k, case, a):
    c = case["cfg"]
    x = a["input_tensor"].reshape(c["input_n"], c["input_h"], c["input_w"], c["input_c"])
    edges = tuple((c[f"pre_pad_{d}"], c[f"post_pad_{d}"]) for d in "nhwc")
    return k.pad(x, padding=edges, value=c["pad_value"])


def transpose(k, case, a):
    shape, order = (tuple(map(int, re.findall(r"\d+", case["cfg"][key]))) for key in ("in_dim", "perm"))
    return a["input_tensor"].reshape(shape[: len(order)]).transpose(order)


def svdf(k, case, a):
    """Every step of the sequence; the last output counts."""
    c = case["cfg"]
    steps = a["input_sequence"].reshape(-1, c["input_batches"], c["input_size"])
    wide = case["q"] == "s8_state16"
    features, times = c["feature_batches"], c["time_batches"]
    state = np.zeros((c["input_batches"], features, times), np.int16 if wide else np.int8)
    feature = {"scheme": "cmsis-nn", "multiplier": c["multiplier_in"], "shift": c["shift_1"],
               "qmin": c["in_activation_min"], "qmax": c["in_activation_max"]}  # fmt: skip
    output = _output(c, None, c["multiplier_out"], c["shift_2"])
    for x in steps:
        # the sign of input_offset is that of a zero point here, unlike in every other operator
        result, state = k.svdf(
            x, state, a["weights_feature"].reshape(features, -1), a["weights_time"].reshape(features, times),
            rank=c["rank"], x_zero_point=c["input_offset"], bias=a.get("biases"), feature=feature, output=output,
        )  # fmt: skip
    return result


def lstm(k, case, a):
    """A whole sequence from a zero cell state; the result holds every step."""
    c, narrow = case["cfg"], case["q"] == "s8"
    batch, steps, size, units = (c[key] for key in ("batch_size", "time_steps", "input_size", "hidden_size"))

    def scaling(name: str, gate: bool = False) -> dict:
        multiplier, shift = c[f"{name}_multiplier"], c[f"{name}_shift"]
        if narrow or not gate:
            return {"scheme": "cmsis-nn", "multiplier": multiplier, "shift": shift}
        reduced = min((multiplier + 2**15) >> 16, 32767)
        return {"scheme": "cmsis-nn-s64", "multiplier": reduced, "shift": shift}

    gates = {
        g: {"input_weights": a[f"{g}_gate_input_weights"].reshape(units, size),
            "hidden_weights": a[f"{g}_gate_hidden_weights"].reshape(units, units),
            "bias": a[f"{g}_gate_bias"].astype(np.int64),
            "input": scaling(f"{g}_gate_input", True), "hidden": scaling(f"{g}_gate_hidden", True)}
        for g in ("input", "forget", "cell", "output")
    }  # fmt: skip
    bits, kind = (8, np.int8) if narrow else (16, np.int16)
    limits = {"qmin": -(2 ** (bits - 1)), "qmax": 2 ** (bits - 1) - 1}
    zero = c["output_zero_point"]
    hidden, cell = np.full((batch, units), zero, kind), np.zeros((batch, units), np.int16)
    by_time = c["time_major"] == "true"
    x = a["input_tensor"].reshape((steps, batch, size) if by_time else (batch, steps, size))
    outputs = []
    for t in range(steps):
        # input_zero_point of these files is an offset: the negated zero point
        hidden, cell = k.lstm(
            np.ascontiguousarray(x[t] if by_time else x[:, t]), hidden, cell, gates=gates,
            x_zero_point=-c["input_zero_point"], forget_to_cell=scaling("forget_to_cell"),
            input_to_cell=scaling("input_to_cell"), output=scaling("output") | {"zero_point": zero} | limits,
            cell_shift=c["cell_scale_power"] + 12, cell_clip=c["cell_clip"],
        )  # fmt: skip
        outputs.append(hidden)
    return np.stack(outputs, axis=0 if by_time else 1)


def ds_cnn(k, case, a):
    """A whole network: its layers in the order of their numbers."""
    names = {"conv_2d": conv, "depthwise_conv_2d": dwconv, "average_pool_2d": avgpool, "fully_connected": fc,
             "softmax": softmax}  # fmt: skip
    found = {re.match(rf"({'|'.join(names)})_(\d+)_", key) for key in case["cfg"]} - {None}
    layers = sorted({(int(m.group(2)), m.group(1)) for m in found})
    x = a["input"]
    for number, name in layers:
        prefix = f"{name}_{number}_"
        c = {key.removeprefix(prefix): v for key, v in case["cfg"].items() if key.startswith(prefix)}
        own = f"layer_{number}_{name}_"
        arrays = {_NAMES.get(key, key): v for key, v in
                  ((key.removeprefix(own), v) for key, v in a.items() if key.startswith(own))}  # fmt: skip
        arrays["biases"] = arrays.pop("bias", arrays.get("biases"))
        arrays |= {"input": x, "input_tensor": x}
        if name == "average_pool_2d":
            c |= {"padding_h": c["pad_h"], "padding_w": c["pad_w"], "input_c": c["in_ch"],
                  "activation_min": c["out_activation_min"], "activation_max": c["out_activation_max"]}  # fmt: skip
        if name == "fully_connected":
            c |= {"out_ch": len(arrays["biases"]), "accumulation_depth": x.size}
        if name == "softmax":
            c |= {"input_mult": c["mult"], "input_left_shift": c["shift"]}
        layer = {"cfg": c, "op": names[name].__name__, "q": "s8", "requant": "double", "int4_packed": False}
        x = names[name](k, layer, arrays)
    return x


RUN = {
    f.__name__: f
    for f in (conv, dwconv, fc, batch_matmul, transpose_conv, add, mul, maxpool, avgpool, softmax, maxmin, pad,
              transpose, svdf, lstm, ds_cnn)
}  # fmt: skip


def expected(arrays: dict) -> np.ndarray:
    return arrays["output_ref"]
