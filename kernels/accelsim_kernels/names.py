"""Names of schemes, modes and orders, with their parameters: one table each, no Numba.

Every choice of arithmetic is a name of one of these tables; the kernels, their reference twins, the numeric
profiles and the reports look it up here. Equation numbers refer to kernels/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: what an accumulator does with a sum outside its range
OVERFLOWS = ("wrap", "saturate", "raise")

#: where the bias enters: as the initial value, or as one more addition at the end
BIAS_AT = ("preload", "after")

#: where zero points are subtracted: from each operand, or as one correction folded into the bias
ZERO_POINT_AT = ("operand", "folded")

#: rounding modes of a right shift, R19: floor, towards zero, ties up / down / away from zero / to zero / to
#: even, round to odd ("jamming"), and stochastic (noise from a hash of seed and value)
ROUNDINGS = (
    "floor",
    "toward_zero",
    "half_up",
    "half_down",
    "half_away",
    "half_to_zero",
    "half_even",
    "odd",
    "stochastic",
)

#: quantization modes of ap_fixed, R18, and the shift rounding that each one is
AP_QUANTIZATION = MappingProxyType(
    {
        "AP_TRN": "floor",
        "AP_TRN_ZERO": "toward_zero",
        "AP_RND": "half_up",
        "AP_RND_ZERO": "half_to_zero",
        "AP_RND_MIN_INF": "half_down",
        "AP_RND_INF": "half_away",
        "AP_RND_CONV": "half_even",
    }
)

#: overflow modes of ap_fixed, R18
AP_OVERFLOW = ("AP_WRAP", "AP_SAT", "AP_SAT_SYM", "AP_SAT_ZERO", "AP_WRAP_SM")


@dataclass(frozen=True)
class Scheme:
    """One way from an accumulator to an output code.

    params: numeric parameters in positional order, each a scalar or one value per channel.
    options: named choices after the parameters, name -> legal values; the first value is the default.
    accumulator_bits: width of the signed accumulator the scheme is defined for.
    zero_point: "after" rounding, "before" rounding, or "none" (must be 0).
    integer: no floating point anywhere.
    """

    params: tuple[str, ...]
    equation: str
    summary: str
    source: str
    accumulator_bits: int = 32
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    zero_point: str = "after"
    integer: bool = True


_Q = ("multiplier", "shift")
_GEMMLOWP = "gemmlowp fixedpoint.h; TensorFlow Lite kernels/internal/common.cc"

#: every requantization scheme by name; `shift` is TFLite's everywhere: positive is left
SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "tflite-double": Scheme(
            _Q, "R1", "high multiply with ties up, then a right shift with ties away from zero", _GEMMLOWP
        ),
        "tflite-ruy": Scheme(
            _Q,
            "R2",
            "high multiply with ties up, then a right shift with ties up",
            "ruy x86 kernels as used by TensorFlow Lite convolutions",
        ),
        "tflite-single": Scheme(
            _Q,
            "R3",
            "exact product, one rounding, ties up",
            "TensorFlow Lite kernels/internal/common.cc with TFLITE_SINGLE_ROUNDING",
        ),
        "tflite-int16x8": Scheme(
            _Q,
            "R4",
            "multiplier reduced to 16 bits, one rounding of the 64-bit product, ties up",
            "TensorFlow Lite kernels/internal/common.cc, int64 accumulator",
            accumulator_bits=48,
        ),
        "tosa-single": Scheme(
            _Q,
            "R5",
            "apply_scale_32 with SINGLE_ROUND: exact product, one rounding, ties up",
            "TOSA 1.0 RESCALE, SINGLE_ROUND",
        ),
        "tosa-double": Scheme(
            _Q,
            "R6",
            "apply_scale_32 with DOUBLE_ROUND: sign-dependent second nudge above shift 31",
            "TOSA 1.0 RESCALE, DOUBLE_ROUND",
        ),
        "tosa-16": Scheme(
            _Q,
            "R7",
            "apply_scale_16: 48-bit value, 16-bit multiplier, one rounding, ties up",
            "TOSA 1.0 RESCALE, scale32 = false",
            accumulator_bits=48,
        ),
        "cmsis-nn": Scheme(
            _Q,
            "R8",
            "high multiply without saturation, then a right shift with ties away from zero",
            "CMSIS-NN arm_nnsupportfunctions.h, arm_nn_requantize",
        ),
        "cmsis-nn-s64": Scheme(
            _Q,
            "R9",
            "64-bit product of a 16-bit multiplier, floor to one extra bit, then ties up",
            "CMSIS-NN arm_nnsupportfunctions.h, arm_nn_requantize_s64",
            accumulator_bits=48,
        ),
        "onnx-float": Scheme(
            ("scale",),
            "R10",
            "float32(acc) * float32 scale, ties to even, zero point after rounding",
            "ONNX Runtime MlasRequantizeOutput; FBGEMM Requantize; XNNPACK fp32; QNNPACK fp32",
            integer=False,
        ),
        "onnx-reference": Scheme(
            ("scale",),
            "R11",
            "float64(acc) * float32 scale, zero point added, ties to even",
            "onnx/reference/ops QLinearConv, QLinearMatMul",
            zero_point="before",
            integer=False,
        ),
        "qnnpack-q31": Scheme(
            ("scale",),
            "R12",
            "24-bit mantissa of a float32 scale as Q31, then as tflite-double",
            "QNNPACK src/requantization/q31-scalar.c",
        ),
        "qnnpack-precise": Scheme(
            ("scale",),
            "R13",
            "24-bit mantissa of a float32 scale, exact product, ties away from zero",
            "QNNPACK src/requantization/precise-scalar.c",
        ),
        "xnnpack-rndnu": Scheme(
            ("scale",),
            "R14",
            "24-bit mantissa of a float32 scale, exact product, ties up",
            "XNNPACK src/xnnpack/requantization.h, rndnu",
        ),
        "nvdla": Scheme(
            ("offset", "scale", "shift"),
            "R15",
            "(acc - offset) * int16 scale, right shift with ties away from zero, saturated to 17 bits",
            "NVDLA hw/v1 precision.rst; cmod/hls/sdp",
            zero_point="none",
        ),
        "gemmini": Scheme(
            ("scale",),
            "R16",
            "float32(acc) * float32 scale, ties to even, no zero point",
            "gemmini-rocc-tests gemmini_params.h, ACC_SCALE",
            zero_point="none",
            integer=False,
        ),
        "finn-thresholds": Scheme(
            ("thresholds",),
            "R17",
            "number of thresholds that the accumulator reaches (acc >= threshold)",
            "QONNX MultiThreshold",
            accumulator_bits=63,
        ),
        "ap-fixed": Scheme(
            ("shift",),
            "R18",
            "power-of-two shift with ap_fixed's quantization and overflow modes",
            "Xilinx HLS_arbitrary_Precision_Types ap_fixed_base.h",
            accumulator_bits=63,
            options={"quantization": tuple(AP_QUANTIZATION), "overflow": AP_OVERFLOW},
            zero_point="none",
        ),
        "shift": Scheme(
            ("shift",),
            "R19",
            "power-of-two shift with a named rounding",
            "RISC-V V vxrm; Gemmini PE; ap_fixed: forms of one shifter",
            accumulator_bits=63,
            options={"rounding": ("half_up", *(r for r in ROUNDINGS if r != "half_up"))},
        ),
        "real-double": Scheme(
            ("scale",),
            "R20",
            "float64(acc) * float64 scale, ties away from zero",
            "TensorFlow Lite reference int8 fully connected",
            accumulator_bits=53,
            integer=False,
        ),
    }
)


def scheme(name: str) -> Scheme:
    """The scheme of that name; ValueError listing the known names otherwise."""
    try:
        return SCHEMES[name]
    except KeyError:
        raise ValueError(f"unknown requantization scheme {name!r}; known: {', '.join(SCHEMES)}") from None


#: both operands brought to a common grid, added or subtracted, the result rescaled
_COMMON_GRID = ("scheme", "left_shift", "a_multiplier", "a_shift", "b_multiplier", "b_shift", "multiplier", "shift")

#: operator -> arithmetic -> the keywords that this form of the operator takes beside the common ones (E1 …)
ARITHMETIC: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # real number to code: how x / scale is formed and rounded, and where the zero point enters
        "quantize": {
            "half-away": (),  # round(x / scale) + zero_point, ties away from zero: TFLite
            "half-even": (),  # rne(x / scale) + zero_point: ONNX
            "half-up": (),  # floor(x / scale + 1/2) + zero_point: power-of-two hardware
            "reciprocal": (),  # rne(x * float32(1 / scale)) + zero_point: FBGEMM
            "zero-point-first": (),  # rne(x / scale + zero_point): XNNPACK, QONNX
        },
        # "rescale": both operands brought to a common grid by `scheme`, added, the sum rescaled (TFLite, TOSA)
        "add": {
            "rescale": _COMMON_GRID,
            "float32": ("a_scale", "b_scale", "scale"),  # ONNX Runtime QLinearAdd
            "weighted": ("a_multiplier", "b_multiplier", "shift", "rounding"),  # XNNPACK, QNNPACK
            "power-of-two": ("a_shift", "b_shift", "shift", "rounding"),  # exact sum, one rounding shift
        },
        "sub": {
            "rescale": _COMMON_GRID,
            "weighted": ("a_multiplier", "b_multiplier", "shift", "rounding"),  # XNNPACK, QNNPACK
            "power-of-two": ("a_shift", "b_shift", "shift", "rounding"),
        },
        "average_pool2d": {
            "raw-codes": (),  # sum of codes / count, ties away from code 0: TFLite, CMSIS-NN
            "reciprocal": (),  # sum of (code - zero_point) times TOSA's reciprocal_scale(count), ties up
            "float32": ("input_scale", "scale"),  # dequantize, float32 sum / count, quantize: ONNX Runtime
            "exact": ("shift", "rounding"),  # exact sum * 2**shift / count, rounded once as named
            "two-roundings": (),  # times 16-bit reciprocals of width, then height, ties away each time: NVDLA
        },
        # sum over height and width, then one requantization that contains 1 / count
        "mean": {
            "requantize": ("requantize",),  # any scheme: parameters from the scale input / (output * count)
            "exact": ("shift", "rounding"),
        },
        "softmax": {
            "gemmlowp": ("diff_min",),  # 8-bit codes, fixed-point exp and Newton reciprocal: TFLite, CMSIS-NN
            "table": (),  # int16 codes, interpolated tables: TFLite, CMSIS-NN
            "onnx-table": ("input_scale", "scale", "zero_point"),  # ONNX Runtime QLinearSoftmax
            # a float softmax between quantizers
            "dequantized": ("input_scale", "input_zero_point", "scale", "zero_point", "qmin", "qmax"),
        },
        # sum, difference, product through float32
        "float_pair": {
            "dequantized": (),  # a float operator between quantizers
            "product": (),  # ONNX Runtime QLinearMul
        },
        # logistic and tanh; as a table of every 8-bit code in float (LiteRT) they are lut with activation_table
        "logistic": {
            "gemmlowp": ("input_range_radius",),  # 8-bit codes, fixed-point exp and Newton steps: TFLite Micro
            "table": (),  # int16 codes, 256 interpolated points of the sigmoid: TFLite
        },
    }
)
