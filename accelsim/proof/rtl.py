"""Synthesizable SystemVerilog: a requantizer and an output-stationary MAC array, with a tap at every stage."""

from __future__ import annotations

import re
from dataclasses import dataclass

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.requant import Requantizer

#: schemes with a module: integer arithmetic on one multiplier and shift, or one shift
RTL_SCHEMES = ("tflite-double", "tflite-ruy", "tflite-single", "tosa-single", "tosa-double", "cmsis-nn", "shift")
_ROUNDINGS = ("floor", "toward_zero", "half_up", "half_down", "half_away", "half_to_zero", "half_even", "odd")


@dataclass(frozen=True)
class ArrayDesign:
    """A MAC array with requantizers: what its modules are generated for.

    rows, cols: processing elements, one output each. x_bits, w_bits: operand widths; x_signed, w_signed.
    x_zero_point, w_zero_point: subtracted from each operand. acc_bits, saturate: the accumulators.
    requantizer: per tensor, one of RTL_SCHEMES; code_bits: of the output, from its clamp.
    """

    rows: int
    cols: int
    x_bits: int
    w_bits: int
    acc_bits: int
    saturate: bool
    requantizer: Requantizer
    x_signed: bool = True
    w_signed: bool = True
    x_zero_point: int = 0
    w_zero_point: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 64 and 1 <= self.cols <= 64):
            raise AccelsimError(f"an array of {self.rows}x{self.cols}: rows and cols must be 1 to 64")
        if not (2 <= self.x_bits <= 16 and 2 <= self.w_bits <= 16 and 8 <= self.acc_bits <= 48):
            raise AccelsimError("operands must have 2 to 16 bits and accumulators 8 to 48")
        if self.requantizer.channels is not None:
            raise AccelsimError("the generated requantizer takes one multiplier and shift: give scalars")

    @property
    def code_bits(self) -> int:
        """Width of the output port: the clamp's range, signed or unsigned."""
        low, high = int(self.requantizer.qmin), int(self.requantizer.qmax)
        return high.bit_length() if low >= 0 else max((-low - 1).bit_length(), high.bit_length()) + 1

    @property
    def code_signed(self) -> bool:
        return int(self.requantizer.qmin) < 0


def design_of(spec: AcceleratorSpec, requantizer: Requantizer) -> ArrayDesign:
    """The array of an accelerator spec: its rows, columns, operand widths and accumulator.

    Raises AccelsimError where the spec's accumulator is none that this array has: several levels, a tree, the
    schedule's order, or a bias that is added last.
    """
    array = spec.array
    how = array.accumulators
    if len(how.levels) > 1 or how.order not in ("serial", "tree:1") or how.bias != "preload":
        raise AccelsimError(
            f"spec {spec.name!r}: the generated array has one accumulator per output, serial and preloaded with "
            "the bias; this spec asks for another"
        )
    return ArrayDesign(
        array.rows, array.cols, array.activation_bits, array.weight_bits, how.bits, how.overflow == "saturate",
        requantizer,
    )  # fmt: skip


def requantizer_module(requantizer: Requantizer, acc_bits: int = 32, name: str = "accelsim_requantize") -> str:
    """SystemVerilog of one requantizer, combinational.

    Port acc (signed, acc_bits); taps product, rounded (signed 64); code. AccelsimError for a scheme that is no
    integer datapath (RTL_SCHEMES), or per-channel parameters.
    """
    scheme = requantizer.scheme
    if scheme not in RTL_SCHEMES:
        raise AccelsimError(f"no module is generated for {scheme!r}; those with one: {', '.join(RTL_SCHEMES)}")
    if requantizer.channels is not None:
        raise AccelsimError("the generated requantizer takes one multiplier and shift: give scalars")
    requantizer.bound()
    low, high, zero = int(requantizer.qmin), int(requantizer.qmax), int(requantizer.zero_point)
    signed = low < 0
    bits = max((-low - 1).bit_length(), high.bit_length()) + 1 if signed else max(high.bit_length(), 1)
    sign = "signed " if signed else ""
    body = "\n".join(f"  {line}" for line in _datapath(requantizer))
    return f"""// {scheme}: {_parameters(requantizer)}, zero point {zero}, clamp [{low}, {high}]
module {name} (
  input  logic signed [{acc_bits - 1}:0] acc,
  output logic signed [63:0] product,
  output logic signed [63:0] rounded,
  output logic {sign}[{bits - 1}:0] code
);
  logic signed [63:0] wide, biased, held;
  assign wide = 64'(acc);
{body}
  assign biased = rounded + {_number(zero)};
  assign held = biased > {_number(high)} ? {_number(high)} : biased < {_number(low)} ? {_number(low)} : biased;
  assign code = held[{bits - 1}:0];
endmodule
"""


def _parameters(requantizer: Requantizer) -> str:
    return ", ".join(f"{k} {v}" for k, v in requantizer.params.items())


def _number(value: int) -> str:
    return f"64'sd{value}" if value >= 0 else f"-64'sd{-value}"


def _datapath(requantizer: Requantizer) -> list[str]:
    """Assignments from `wide` to `product` and `rounded`."""
    shift = int(requantizer.params["shift"])
    left, right = max(shift, 0), max(-shift, 0)
    scheme = requantizer.scheme
    if scheme == "shift":
        rounding = requantizer.params.get("rounding", "half_up")
        if rounding not in _ROUNDINGS:
            raise AccelsimError(f"no module is generated for rounding {rounding!r}; known: {', '.join(_ROUNDINGS)}")
        return [f"assign product = wide <<< {left};", *_rounding("product", right, rounding)]
    multiplier = _number(int(requantizer.params["multiplier"]))
    if scheme in ("tflite-single", "tosa-single"):
        return [f"assign product = wide * {multiplier};", *_rounding("product", 31 - shift, "half_up")]
    if scheme == "tosa-double":
        s = 31 - shift
        nudge = f"{_number(2 ** (s - 1))}"
        if s > 31:
            nudge += f" + (wide[63] ? {_number(-(2**30))} : {_number(2**30)})"
        return [f"assign product = wide * {multiplier};", f"assign rounded = (product + {nudge}) >>> {s};"]
    second = "half_up" if scheme == "tflite-ruy" else "half_away"
    return [
        f"assign product = (wide <<< {left}) * {multiplier};",
        "logic signed [63:0] high;",
        f"assign high = (product + {_number(2**30)}) >>> 31;",
        *_rounding("high", right, second),
    ]


def _rounding(value: str, s: int, rounding: str) -> list[str]:
    """`rounded` = value / 2**s rounded as named."""
    if s == 0:
        return [f"assign rounded = {value};"]
    half, mask = _number(2 ** (s - 1)), _number(2**s - 1)
    floor = f"{value} >>> {s}"
    forms = {
        "floor": floor,
        "toward_zero": f"({value} + ({value}[63] ? {mask} : 64'sd0)) >>> {s}",
        "half_up": f"({value} + {half}) >>> {s}",
        "half_down": f"({value} + {half} - 64'sd1) >>> {s}",
        "half_away": f"({value} + {half} - ({value}[63] ? 64'sd1 : 64'sd0)) >>> {s}",
        "half_to_zero": f"({value} + {half} - ({value} > 64'sd0 ? 64'sd1 : 64'sd0)) >>> {s}",
        "half_even": f"({value} + {half} - ({value}[{s}] ? 64'sd0 : 64'sd1)) >>> {s}",
        "odd": f"({floor}) | (({value} & {mask}) != 64'sd0 ? 64'sd1 : 64'sd0)",
    }
    return [f"assign rounded = {forms[rounding]};"]


def array_modules(design: ArrayDesign) -> str:
    """SystemVerilog of the processing element, the array and its requantizers.

    Top: accelsim_array. Each cycle with `step`, element (r, c) adds (x[r] - zx) * (w[c] - zw); `load` starts it at
    bias[c]. Row `row` is requantized, all columns at once. overflow: set since load where a sum left its range.
    """
    d = design
    x_wide, w_wide = d.x_bits + 2, d.w_bits + 2
    sum_bits = max(d.acc_bits, x_wide + w_wide) + 1
    top = 2 ** (d.acc_bits - 1) - 1
    kept = f"total[{d.acc_bits - 1}:0]"
    if d.saturate:
        kept = f"total > TOP ? TOP[{d.acc_bits - 1}:0] : total < BOTTOM ? BOTTOM[{d.acc_bits - 1}:0] : {kept}"
    x = _extended("x", d.x_bits, d.x_signed)
    w = _extended("w", d.w_bits, d.w_signed)
    sign = "signed " if d.code_signed else ""
    return f"""// {d.rows}x{d.cols} output-stationary array, {d.x_bits}-bit x {d.w_bits}-bit operands,
// {d.acc_bits}-bit accumulators that {"saturate" if d.saturate else "wrap"}
module accelsim_pe (
  input  logic clk, load, step,
  input  logic [{d.x_bits - 1}:0] x,
  input  logic [{d.w_bits - 1}:0] w,
  input  logic signed [{d.acc_bits - 1}:0] bias,
  output logic signed [{d.acc_bits - 1}:0] acc,
  output logic overflow
);
  localparam logic signed [{sum_bits - 1}:0] TOP = {sum_bits}'sd{top};
  localparam logic signed [{sum_bits - 1}:0] BOTTOM = -{sum_bits}'sd{top + 1};
  logic signed [{x_wide - 1}:0] xs;
  logic signed [{w_wide - 1}:0] ws;
  logic signed [{x_wide + w_wide - 1}:0] term;
  logic signed [{sum_bits - 1}:0] total;
  logic signed [{d.acc_bits - 1}:0] next;
  assign xs = {x} - {_sized(d.x_zero_point, x_wide)};
  assign ws = {w} - {_sized(d.w_zero_point, w_wide)};
  assign term = xs * ws;
  assign total = {sum_bits}'(acc) + {sum_bits}'(term);
  assign next = {kept};
  always_ff @(posedge clk) begin
    if (load) begin
      acc <= bias;
      overflow <= 1'b0;
    end else if (step) begin
      acc <= next;
      overflow <= overflow | (total > TOP) | (total < BOTTOM);
    end
  end
endmodule

{requantizer_module(d.requantizer, d.acc_bits)}
module accelsim_array (
  input  logic clk, load, step,
  input  logic [{d.rows * d.x_bits - 1}:0] x,
  input  logic [{d.cols * d.w_bits - 1}:0] w,
  input  logic [{d.cols * d.acc_bits - 1}:0] bias,
  input  logic [{max((d.rows - 1).bit_length(), 1) - 1}:0] row,
  output logic [{d.cols * d.acc_bits - 1}:0] acc,
  output logic [{d.cols - 1}:0] overflow,
  output logic [{d.cols * 64 - 1}:0] product,
  output logic [{d.cols * 64 - 1}:0] rounded,
  output logic [{d.cols * d.code_bits - 1}:0] code
);
  logic [{d.rows * d.cols * d.acc_bits - 1}:0] all_acc;
  logic [{d.rows * d.cols - 1}:0] all_overflow;
  genvar r, c;
  generate
    for (r = 0; r < {d.rows}; r = r + 1) begin : rows
      for (c = 0; c < {d.cols}; c = c + 1) begin : cols
        accelsim_pe pe (
          .clk(clk), .load(load), .step(step),
          .x(x[r * {d.x_bits} +: {d.x_bits}]),
          .w(w[c * {d.w_bits} +: {d.w_bits}]),
          .bias(bias[c * {d.acc_bits} +: {d.acc_bits}]),
          .acc(all_acc[(r * {d.cols} + c) * {d.acc_bits} +: {d.acc_bits}]),
          .overflow(all_overflow[r * {d.cols} + c])
        );
      end
    end
    for (c = 0; c < {d.cols}; c = c + 1) begin : outputs
      logic signed [63:0] p, q;
      logic {sign}[{d.code_bits - 1}:0] z;
      accelsim_requantize requantize (
        .acc(acc[c * {d.acc_bits} +: {d.acc_bits}]), .product(p), .rounded(q), .code(z)
      );
      assign product[c * 64 +: 64] = p;
      assign rounded[c * 64 +: 64] = q;
      assign code[c * {d.code_bits} +: {d.code_bits}] = z;
    end
  endgenerate
  assign acc = all_acc[row * {d.cols * d.acc_bits} +: {d.cols * d.acc_bits}];
  assign overflow = all_overflow[row * {d.cols} +: {d.cols}];
endmodule
"""


def _extended(name: str, bits: int, signed: bool) -> str:
    """The operand with two bits more, so that any zero point can be subtracted."""
    above = f"{{2{{{name}[{bits - 1}]}}}}" if signed else "2'b00"
    return f"$signed({{{above}, {name}}})"


def _sized(value: int, bits: int) -> str:
    return f"{bits}'sd{value}" if value >= 0 else f"(-{bits}'sd{-value})"


def c_model(requantizer: Requantizer, name: str = "accelsim_requantize") -> str:
    """C99 of the same datapath, for firmware and for DPI: int32_t name(int32_t acc)."""
    lines = [
        line.replace("assign ", "").replace("64'sd", "INT64_C(").replace("logic signed [63:0] high;", "")
        for line in _datapath(requantizer)
    ]
    body = "\n".join(f"  {_c_statement(line)}" for line in lines if line.strip())
    low, high, zero = int(requantizer.qmin), int(requantizer.qmax), int(requantizer.zero_point)
    return f"""/* {requantizer.scheme}: {_parameters(requantizer)}, zero point {zero}, clamp [{low}, {high}] */
#include <stdint.h>

#ifdef __cplusplus
extern "C" /* simulators compile it as C++ */
#endif
int32_t {name}(int32_t acc) {{
  const int64_t wide = acc;
{body}
  const int64_t biased = rounded + {zero};
  return (int32_t)(biased > {high} ? {high} : biased < {low} ? {low} : biased);
}}
"""


def _c_statement(line: str) -> str:
    """One assignment of _datapath in C; arithmetic shifts and bit tests as C has them."""
    line = re.sub(r"INT64_C\((\d+)", r"INT64_C(\1)", line)
    line = line.replace(">>>", ">>").replace("<<<", "<<")
    line = re.sub(r"wide << (\d+)", lambda m: f"wide * (INT64_C(1) << {m.group(1)})", line)
    line = re.sub(r"(\w+)\[63\]", r"(\1 < 0)", line)
    line = re.sub(r"(\w+)\[(\d+)\]", r"((\1 >> \2) & 1)", line)
    return f"const int64_t {line}"
