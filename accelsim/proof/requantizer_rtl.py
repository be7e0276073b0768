"""Synthesizable SystemVerilog of one requantizer, and its model in C."""

from __future__ import annotations

import re

from accelsim.proof import datapath
from accelsim.proof.datapath import FLOAT_SCHEMES, number
from accelsim.requant import Requantizer


def code_bits(requantizer: Requantizer) -> int:
    """Width of the output port: the clamp's range, signed where qmin is negative."""
    low, high = int(requantizer.qmin), int(requantizer.qmax)
    return max(high.bit_length(), 1) if low >= 0 else max((-low - 1).bit_length(), high.bit_length()) + 1


def requantizer_module(requantizer: Requantizer, acc_bits: int = 32, name: str = "accelsim_requantize") -> str:
    """SystemVerilog of one requantizer, combinational.

    Port acc (signed, acc_bits); taps product, rounded (signed 64; the product of the float schemes as float32 bits);
    code. AccelsimError for a scheme without a module (datapath.RTL_SCHEMES), or per-channel parameters.
    """
    datapath.check(requantizer)
    if requantizer.scheme in FLOAT_SCHEMES:
        body = _float_body(float(requantizer.params["scale"]))
    else:
        lines = []
        for signal, expression in datapath.signals(requantizer):
            lines += [] if signal in ("product", "rounded") else [f"  logic signed [63:0] {signal};"]
            lines.append(f"  assign {signal} = {expression};")
        body = "\n".join(lines)
    bits = code_bits(requantizer)
    sign = "signed " if int(requantizer.qmin) < 0 else ""
    return f"""// {_title(requantizer)}
module {name} (
  input  logic signed [{acc_bits - 1}:0] acc,
  output logic signed [63:0] product,
  output logic signed [63:0] rounded,
  output logic {sign}[{bits - 1}:0] code
);
  logic signed [63:0] wide, biased, held;
  assign wide = 64'(acc);
{body}
  assign biased = rounded + {number(int(requantizer.zero_point))};
  assign held = {datapath.output(requantizer)};
  assign code = held[{bits - 1}:0];
endmodule
"""


def _title(requantizer: Requantizer) -> str:
    given = {**requantizer.params, **requantizer.bound().options}
    if requantizer.scheme == "finn-thresholds":
        given = {"thresholds": len(given["thresholds"])}
    parameters = ", ".join(f"{k} {v}" for k, v in given.items())
    low, high, zero = int(requantizer.qmin), int(requantizer.qmax), int(requantizer.zero_point)
    return f"{requantizer.scheme}: {parameters}, zero point {zero}, range [{low}, {high}]"


def _float_body(scale: float) -> str:
    """rne(float32(acc) * scale): both float32 roundings and the last one, ties to even, on integers.

    The accumulator's magnitude is normalised to 32 bits and rounded to the 24 of a float32; so is its product with the
    24-bit mantissa of the scale. exponent is that of the product's last bit.
    """
    m, e = datapath.mantissa(scale)
    return f"""  // float32 scale {scale!r} = {m} * 2**{e}
  logic [31:0] magnitude, normal;
  logic [5:0] zeros;
  logic [24:0] single, result;
  logic [23:0] significand, mantissa;
  logic [47:0] exact, aligned;
  logic signed [11:0] exponent, biased_exponent;
  logic signed [63:0] whole, absolute;
  logic [5:0] dropped;
  logic up_single, up_product, up_whole;

  function automatic [5:0] leading_zeros(input [31:0] value);
    leading_zeros = 6'd32;
    for (int i = 0; i < 32; i = i + 1) if (value[i]) leading_zeros = 6'd31 - i[5:0];
  endfunction

  assign magnitude = wide[63] ? 32'(-wide) : 32'(wide);
  assign zeros = leading_zeros(magnitude);
  assign normal = magnitude << zeros;
  assign up_single = normal[7] & ((|normal[6:0]) | normal[8]);
  assign single = {{1'b0, normal[31:8]}} + 25'(up_single);
  assign significand = single[24] ? single[24:1] : single[23:0];
  assign exact = 48'(significand) * 48'd{m};
  assign aligned = exact[47] ? exact : exact << 1;
  assign up_product = aligned[23] & ((|aligned[22:0]) | aligned[24]);
  assign result = {{1'b0, aligned[47:24]}} + 25'(up_product);
  assign mantissa = result[24] ? result[24:1] : result[23:0];
  assign exponent = {_signed(e + 8 + 23, 12)} - $signed(12'(zeros)) + $signed(12'(single[24]))
      + $signed(12'(exact[47])) + $signed(12'(result[24]));
  assign biased_exponent = exponent + 12'sd150;
  assign product = magnitude == 32'd0 ? 64'sd0 : $signed({{32'd0, wide[63], biased_exponent[7:0], mantissa[22:0]}});

  // the product is mantissa * 2**exponent
  assign dropped = exponent >= 12'sd0 || exponent < -12'sd24 ? 6'd0 : 6'(-exponent);
  assign whole = exponent >= 12'sd0 ? $signed(64'(mantissa)) <<< exponent[5:0] : $signed(64'(mantissa)) >>> dropped;
  assign up_whole = dropped != 6'd0 && mantissa[5'(dropped - 6'd1)]
      && (whole[0] || (mantissa & ((24'd1 << (dropped - 6'd1)) - 24'd1)) != 24'd0);
  assign absolute = exponent < -12'sd24 || magnitude == 32'd0 ? 64'sd0 : whole + $signed(64'(up_whole));
  assign rounded = wide[63] ? -absolute : absolute;"""


def _signed(value: int, bits: int) -> str:
    return f"{bits}'sd{value}" if value >= 0 else f"-{bits}'sd{-value}"


def c_model(requantizer: Requantizer, name: str = "accelsim_requantize", acc_bits: int = 32) -> str:
    """C99 of the same arithmetic, for firmware and for DPI: int32_t name(int32_t acc), int64_t acc above 32 bits.

    The float schemes are written with the compiler's own float, not with the datapath's steps.
    """
    datapath.check(requantizer)
    kind = "int32_t" if acc_bits <= 32 else "int64_t"
    if requantizer.scheme in FLOAT_SCHEMES:
        lines = _float_statements(float(requantizer.params["scale"]))
    else:
        lines = [f"const int64_t {name} = {_in_c(value)};" for name, value in datapath.signals(requantizer)]
    body = "\n".join(f"  {line}" for line in lines)
    return f"""/* {_title(requantizer)} */
#include <stdint.h>

#ifdef __cplusplus
extern "C" /* simulators compile it as C++ */
#endif
int32_t {name}({kind} acc) {{
  const int64_t wide = acc;
{body}
  const int64_t biased = rounded + {_in_c(number(int(requantizer.zero_point)))};
  return (int32_t)({_in_c(datapath.output(requantizer))});
}}
"""


def _float_statements(scale: float) -> list[str]:
    return [
        f"volatile const float product = (float)wide * {scale:.9e}f; /* volatile: never fused with what follows */",
        "const int64_t whole = (int64_t)product;",
        "const float rest = product - (float)whole;",
        "const int64_t odd = whole & 1;",
        "const int64_t rounded = whole + (rest > 0.5f || (odd && rest == 0.5f)) "
        "- (rest < -0.5f || (odd && rest == -0.5f));",
    ]


def _in_c(expression: str) -> str:
    """An expression of the datapath in C; arithmetic shifts and bit tests as C has them."""
    text = re.sub(r"64'sd(\d+)", r"INT64_C(\1)", expression)
    text = re.sub(r"wide <<< (\d+)", lambda m: f"wide * (INT64_C(1) << {m.group(1)})", text)
    text = re.sub(r"(\w+)\[63\]", r"(\1 < 0)", text.replace(">>>", ">>"))
    return re.sub(r"(\w+)\[(\d+)\]", r"((\1 >> \2) & 1)", text)
