"""Synthesizable SystemVerilog of an output-stationary MAC array with requantizers, with a tap at every stage."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.proof import datapath
from accelsim.proof.requantizer_rtl import code_bits, requantizer_module
from accelsim.requant import Requantizer


@dataclass(frozen=True)
class InnerAccumulator:
    """An accumulator that takes `span` products from 0 and is then added to the next one."""

    bits: int
    saturate: bool
    span: int


@dataclass(frozen=True)
class ArrayDesign:
    """A MAC array with requantizers: what its modules are generated for.

    rows, cols: processing elements, one output each. x_bits, w_bits: operand widths; x_signed, w_signed.
    x_zero_point, w_zero_point: subtracted from each operand. acc_bits, saturate: the outermost accumulators, which
    start at the bias. lanes: products that an element sums exactly before each addition (an adder tree). inner:
    accumulators inside it, innermost first. requantizer: per tensor, one of datapath.RTL_SCHEMES.
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
    lanes: int = 1
    inner: tuple[InnerAccumulator, ...] = ()

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 64 and 1 <= self.cols <= 64):
            raise AccelsimError(f"an array of {self.rows}x{self.cols}: rows and cols must be 1 to 64")
        widths = [self.acc_bits, *(level.bits for level in self.inner)]
        if not (2 <= self.x_bits <= 16 and 2 <= self.w_bits <= 16 and all(8 <= w <= 48 for w in widths)):
            raise AccelsimError("operands must have 2 to 16 bits and accumulators 8 to 48")
        if not 1 <= self.lanes <= 64:
            raise AccelsimError(f"an adder tree of {self.lanes} products: 1 to 64 are supported")
        steps = self.lanes
        for level in self.inner:
            if level.span < 1 or level.span % steps:
                raise AccelsimError(
                    f"an inner accumulator over {level.span} products: its span must be a multiple of what it is given "
                    f"at a time, {steps}"
                )
            steps = level.span
        datapath.check(self.requantizer)

    @property
    def levels(self) -> list[tuple[int, str, int | None]]:
        """As the kernels take them: (bits, overflow, span), innermost first."""
        named = [(v.bits, "saturate" if v.saturate else "wrap", v.span) for v in self.inner]
        return [*named, (self.acc_bits, "saturate" if self.saturate else "wrap", None)]

    @property
    def code_bits(self) -> int:
        """Width of the output port: the clamp's range, signed or unsigned."""
        return code_bits(self.requantizer)

    @property
    def code_signed(self) -> bool:
        return int(self.requantizer.qmin) < 0


def design_of(spec: AcceleratorSpec, requantizer: Requantizer) -> ArrayDesign:
    """The array of an accelerator spec: its rows, columns, operand widths, adder trees and accumulators.

    Raises AccelsimError where the spec's accumulation is none that this array has: the schedule's own order, or a bias
    that is added last.
    """
    array = spec.array
    how = array.accumulators
    if how.order == "mapping" or how.bias != "preload":
        raise AccelsimError(
            f"spec {spec.name!r}: the generated array adds in the order 'serial' or 'tree:n' to accumulators that are "
            f"preloaded with the bias; this spec asks for order {how.order!r}, bias {how.bias!r}"
        )
    inner = tuple(InnerAccumulator(v.bits, v.overflow == "saturate", int(v.span or 1)) for v in how.levels[:-1])
    return ArrayDesign(
        array.rows, array.cols, array.activation_bits, array.weight_bits, how.bits, how.overflow == "saturate",
        requantizer, lanes=int(how.order.partition(":")[2] or 1), inner=inner,
    )  # fmt: skip


def array_modules(design: ArrayDesign) -> str:
    """SystemVerilog of the processing element, the array and its requantizers.

    Top: accelsim_array. `load` starts element (r, c) at bias[c]. Each cycle with `step` it adds the products
    (x[r] - zx) * (w[c] - zw) of its lanes. `flush`, once after the last step, adds what inner accumulators still hold.
    Row `row` is requantized, all columns at once. overflow: set since load where a sum left its accumulator's range.
    """
    d = design
    return f"{_element(d)}\n{requantizer_module(d.requantizer, d.acc_bits)}\n{_array(d)}"


def _element(d: ArrayDesign) -> str:
    x_wide, w_wide = d.x_bits + 2, d.w_bits + 2
    widths = [level[0] for level in d.levels]
    sum_bits = max(*widths, x_wide + w_wide + d.lanes.bit_length()) + 1
    terms, products = [], []
    for n in range(d.lanes):
        terms.append(f"""  logic signed [{x_wide - 1}:0] x{n};
  logic signed [{w_wide - 1}:0] w{n};
  logic signed [{x_wide + w_wide - 1}:0] p{n};
  assign x{n} = {_extended("x", d.x_bits, n, d.x_signed)} - {_sized(d.x_zero_point, x_wide)};
  assign w{n} = {_extended("w", d.w_bits, n, d.w_signed)} - {_sized(d.w_zero_point, w_wide)};
  assign p{n} = x{n} * w{n};""")
        products.append(f"{sum_bits}'(p{n})")
    top = len(d.inner)
    names = [*(f"inner{n}" for n in range(top)), "acc"]
    wires, holds = [], []
    for n, (bits, overflow, _) in enumerate(d.levels):
        # what comes from below: a step's products, or an inner accumulator that is complete or flushed
        given = (
            f"(step ? term : {sum_bits}'sd0)"
            if n == 0
            else f"(give{n - 1} ? {sum_bits}'(next{n - 1}) : {sum_bits}'sd0)"
        )
        kept = f"total{n}[{bits - 1}:0]"
        if overflow == "saturate":
            kept = f"total{n} > TOP{n} ? TOP{n}[{bits - 1}:0] : total{n} < BOTTOM{n} ? BOTTOM{n}[{bits - 1}:0] : {kept}"
        wires.append(f"""  localparam logic signed [{sum_bits - 1}:0] TOP{n} = {sum_bits}'sd{2 ** (bits - 1) - 1};
  localparam logic signed [{sum_bits - 1}:0] BOTTOM{n} = -{sum_bits}'sd{2 ** (bits - 1)};
  logic signed [{sum_bits - 1}:0] total{n};
  logic signed [{bits - 1}:0] next{n};
  assign total{n} = {sum_bits}'({names[n]}) + {given};
  assign next{n} = {kept};""")
        holds.append(f"(total{n} > TOP{n}) | (total{n} < BOTTOM{n})")
    state, reset, update = [], ["      acc <= bias;", "      overflow <= 1'b0;"], []
    below = d.lanes
    for n, level in enumerate(d.inner):
        # a level counts what it is given: steps, or complete inner accumulators
        count, below = level.span // below, level.span
        bits = max((count - 1).bit_length(), 1)
        took = "step" if n == 0 else f"step & full{n - 1}"
        state.append(f"""  logic signed [{level.bits - 1}:0] inner{n};
  logic [{bits - 1}:0] count{n};
  logic full{n}, give{n};
  assign full{n} = {"1'b1" if n == 0 else f"full{n - 1}"} & (count{n} == {bits}'d{count - 1});
  assign give{n} = flush | (step & full{n});""")
        reset += [f"      inner{n} <= '0;", f"      count{n} <= '0;"]
        update += [f"      inner{n} <= give{n} ? '0 : next{n};",
                   f"      if (give{n}) count{n} <= '0; else if ({took}) count{n} <= count{n} + 1'b1;"]  # fmt: skip
    held = [
        f"{bits} bits that {overflow}{f' over {span} products' if span else ''}" for bits, overflow, span in d.levels
    ]
    newline = "\n"
    return f"""// {d.rows}x{d.cols} output-stationary array, {d.x_bits}-bit x {d.w_bits}-bit operands
// products added at a time: {d.lanes}; accumulators: {", then ".join(held)}
module accelsim_pe (
  input  logic clk, load, step, flush,
  input  logic [{d.lanes * d.x_bits - 1}:0] x,
  input  logic [{d.lanes * d.w_bits - 1}:0] w,
  input  logic signed [{d.acc_bits - 1}:0] bias,
  output logic signed [{d.acc_bits - 1}:0] acc,
  output logic overflow
);
{newline.join(terms)}
  logic signed [{sum_bits - 1}:0] term;
  assign term = {" + ".join(products)};
{newline.join([*state, *wires])}
  always_ff @(posedge clk) begin
    if (load) begin
{newline.join(reset)}
    end else if (step | flush) begin
      acc <= next{top};
{newline.join([*update, ""])}      overflow <= overflow | {" | ".join(holds)};
    end
  end
endmodule
"""


def _array(d: ArrayDesign) -> str:
    x_port, w_port = d.lanes * d.x_bits, d.lanes * d.w_bits
    sign = "signed " if d.code_signed else ""
    return f"""module accelsim_array (
  input  logic clk, load, step, flush,
  input  logic [{d.rows * x_port - 1}:0] x,
  input  logic [{d.cols * w_port - 1}:0] w,
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
          .clk(clk), .load(load), .step(step), .flush(flush),
          .x(x[r * {x_port} +: {x_port}]),
          .w(w[c * {w_port} +: {w_port}]),
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


def _extended(name: str, bits: int, lane: int, signed: bool) -> str:
    """The operand of a lane with two bits more, so that any zero point can be subtracted."""
    low, high = lane * bits, lane * bits + bits - 1
    above = f"{{2{{{name}[{high}]}}}}" if signed else "2'b00"
    return f"$signed({{{above}, {name}[{high}:{low}]}})"


def _sized(value: int, bits: int) -> str:
    return f"{bits}'sd{value}" if value >= 0 else f"(-{bits}'sd{-value})"
