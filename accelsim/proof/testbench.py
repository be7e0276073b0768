"""Self-checking testbenches for the generated array: its vectors and the SystemVerilog that drives them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelsim_kernels.comparison import unclamped

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.proof import datapath
from accelsim.proof.cocotb_bench import cocotb_files
from accelsim.proof.golden import golden_vectors, rare_corners
from accelsim.proof.requantizer_rtl import c_model
from accelsim.proof.rtl import ArrayDesign, array_modules
from accelsim.proof.vector_files import plain

#: where a mismatch can show, in the order in which the bench looks
STAGES = ("accumulator", "overflow", "product", "rounded", "clamped")


@dataclass(frozen=True)
class ArrayVectors:
    """Operands of `tiles` runs of an array over `depth` steps, and what every stage must show.

    x: (tiles, depth, rows), w: (tiles, depth, cols), bias: (tiles, cols); acc, overflow, product, rounded, code:
    (tiles, rows, cols), from the kernels.
    """

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray
    acc: np.ndarray
    overflow: np.ndarray
    product: np.ndarray
    rounded: np.ndarray
    code: np.ndarray

    @property
    def outputs(self) -> int:
        return int(self.acc.size)


def array_vectors(design: ArrayDesign, *, outputs: int = 4096, depth: int = 16, seed: int = 0) -> ArrayVectors:
    """At least that many outputs: a third steered by the bias onto ties, steps and corners, a third near overflow.

    Of the steered outputs of a float32 scale the first ones meet each accumulator that carries into the exponent.
    depth: products of an output, raised to a multiple of the design's lanes. Codes and accumulators are the kernels'.
    AccelsimError where accumulators leave the domain of the requantizer's scheme whatever the bias.
    """
    from accelsim_kernels.requantization import requantize_bound

    rng = np.random.default_rng(seed)
    depth = -(-depth // design.lanes) * design.lanes
    tiles = -(-outputs // (design.rows * design.cols))
    x = _operands(rng, design.x_bits, design.x_signed, (tiles, depth, design.rows))
    w = _operands(rng, design.w_bits, design.w_signed, (tiles, depth, design.cols))
    top = 2 ** (design.acc_bits - 1)
    bias = rng.integers(-top // 4, top // 4, (tiles, design.cols))
    targets = golden_vectors(design.requantizer, count=2000, seed=seed).accumulator
    centred = x.astype(np.int64) - design.x_zero_point, w.astype(np.int64) - design.w_zero_point
    reach = np.einsum("tkr,tkc->trc", *centred)
    bound = design.requantizer.bound()
    wanted = rng.choice(targets, (tiles, design.cols))
    rare, steered = rng.permutation([v for v in rare_corners(bound) if -top <= v < top]), wanted[::3].flat
    steered[: len(rare)] = rare[: len(steered)]
    # the row whose products come nearest to it: the bias of an end of the range stays within
    row = np.abs(wanted[:, None, :] - reach).argmin(axis=1)
    aimed = wanted - np.take_along_axis(reach, row[:, None, :], axis=1)[:, 0]
    within = (np.abs(aimed) < top) & (np.arange(tiles) % 3 == 0)[:, None]
    bias = np.where(within, aimed, bias)
    # a third starts so near to an end of the accumulator that the operands can carry it out
    brink = np.clip(top - rng.integers(1, np.abs(reach).max() + 2, bias.shape), 0, top - 1)
    ends = np.where(rng.random(bias.shape) < 0.5, brink, -brink - 1)
    bias = np.where((np.arange(tiles) % 3 == 1)[:, None], ends, bias)
    low, high = (int(limit[0]) for limit in bound.accumulator_range())
    acc, overflow = _accumulate(design, x, w, bias)
    outside = ((acc < low) | (acc > high)).any(axis=(1, 2))
    # near an end that the scheme is not defined for, the operands alone must do
    bias[outside] = 0
    acc[outside], overflow[outside] = _accumulate(design, x[outside], w[outside], bias[outside])
    try:
        bound.check(acc)
    except ValueError as error:
        raise AccelsimError(f"the array's accumulators leave the requantizer's domain: {error}") from None
    rounded, code = requantize_bound(acc, unclamped(bound)), requantize_bound(acc, bound)
    product = datapath.products(design.requantizer, acc)
    return ArrayVectors(x, w, bias, acc, overflow, product, rounded.astype(np.int64), code.astype(np.int64))


def _accumulate(design: ArrayDesign, x: np.ndarray, w: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accumulators and overflow flags (tiles, rows, cols) of the design, from the kernels."""
    from accelsim_kernels import matmul

    acc = np.empty((len(x), design.rows, design.cols), np.int64)
    overflow = np.empty(acc.shape, bool)
    for t in range(len(x)):
        acc[t], overflow[t] = matmul(
            np.ascontiguousarray(x[t].T), w[t], bias=bias[t], a_zero_point=design.x_zero_point,
            b_zero_point=design.w_zero_point, return_events=True, levels=design.levels,
            order="serial" if design.lanes == 1 else f"tree:{design.lanes}",
        )  # fmt: skip
    return acc, overflow


def _operands(rng: np.random.Generator, bits: int, signed: bool, shape: tuple[int, ...]) -> np.ndarray:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = rng.integers(low, high + 1, shape)
    extreme = rng.choice(np.array([low, high]), shape)
    values[1::3] = extreme[1::3]
    kind = ("int" if signed else "uint") + ("8" if bits <= 8 else "16")
    return values.astype(kind)


def write_bench(design: ArrayDesign, vectors: ArrayVectors, folder: Path | str) -> Path:
    """Write a design, its benches and its vectors into a folder, and return it.

    design.sv; bench.sv (define ACCELSIM_DPI for the C model model.c beside the design); cocotb_test.py with its
    runner run_cocotb.py; the $readmemh files; manifest.json.

    AccelsimError where the folder cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccelsimError(f"cannot make {folder}: {error.strerror}") from None
    d, v = design, vectors
    files = {
        "x.mem": _packed(_by_lane(v.x, d.lanes), d.x_bits),
        "w.mem": _packed(_by_lane(v.w, d.lanes), d.w_bits),
        "bias.mem": _packed(v.bias.reshape(-1, d.cols), d.acc_bits),
        "acc.mem": _packed(v.acc.reshape(-1, 1), d.acc_bits),
        "overflow.mem": _packed(v.overflow.reshape(-1, 1).astype(np.int64), 1),
        "product.mem": _packed(v.product.reshape(-1, 1), 64),
        "rounded.mem": _packed(v.rounded.reshape(-1, 1), 64),
        "code.mem": _packed(v.code.reshape(-1, 1), d.code_bits),
        "design.sv": array_modules(d),
        "bench.sv": bench(d, v),
        "model.c": c_model(d.requantizer, acc_bits=d.acc_bits),
        **cocotb_files(),
    }
    for name, text in files.items():
        write_atomically(folder / name, text)
    manifest = {
        "rows": d.rows, "cols": d.cols, "x_bits": d.x_bits, "w_bits": d.w_bits, "acc_bits": d.acc_bits,
        "code_bits": d.code_bits, "overflow": "saturate" if d.saturate else "wrap", "outputs": v.outputs,
        "tiles": len(v.x), "depth": v.x.shape[1], "lanes": d.lanes, "levels": d.levels,
        "requantizer": plain(d.requantizer.kwargs()),
        "overflowed": int(v.overflow.sum()), "stages": list(STAGES), "files": sorted(files),
    }  # fmt: skip
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    return folder


def _by_lane(operands: np.ndarray, lanes: int) -> np.ndarray:
    """(tiles, depth, ports) -> one row per step: the lanes of port 0, of port 1, …"""
    tiles, depth, ports = operands.shape
    return operands.reshape(tiles, depth // lanes, lanes, ports).swapaxes(2, 3).reshape(-1, ports * lanes)


def _packed(rows: np.ndarray, bits: int) -> str:
    """One hexadecimal word per row, element 0 in the lowest bits."""
    mask, digits = 2**bits - 1, -(-bits * rows.shape[1] // 4)
    if rows.shape[1] == 1:
        return "".join(f"{v & mask:0{digits}x}\n" for v in rows[:, 0].tolist())
    lines = []
    for row in rows.tolist():
        word = 0
        for i, value in enumerate(row):
            word |= (value & mask) << (i * bits)
        lines.append(f"{word:0{digits}x}\n")
    return "".join(lines)


def bench(design: ArrayDesign, vectors: ArrayVectors) -> str:
    """The testbench: drives every tile, compares every stage of every output, prints one RESULT line."""
    d = design
    tiles, steps = len(vectors.x), vectors.x.shape[1] // d.lanes
    kind = "int" if d.acc_bits <= 32 else "longint"
    row_bits = max((d.rows - 1).bit_length(), 1)
    return f"""`timescale 1ns/1ps
module bench;
  localparam int TILES = {tiles}, STEPS = {steps}, ROWS = {d.rows}, COLS = {d.cols}, OUTPUTS = {vectors.outputs};
  logic clk = 0, load = 0, step = 0, flush = 0;
  logic [{d.rows * d.lanes * d.x_bits - 1}:0] x, xs [0:TILES * STEPS - 1];
  logic [{d.cols * d.lanes * d.w_bits - 1}:0] w, ws [0:TILES * STEPS - 1];
  logic [{d.cols * d.acc_bits - 1}:0] bias, biases [0:TILES - 1];
  logic [{row_bits - 1}:0] row = 0;
  logic [{d.cols * d.acc_bits - 1}:0] acc;
  logic [{d.cols - 1}:0] overflow;
  logic [{d.cols * 64 - 1}:0] product, rounded;
  logic [{d.cols * d.code_bits - 1}:0] code;
  logic [{d.acc_bits - 1}:0] want_acc [0:OUTPUTS - 1];
  logic [0:0] want_overflow [0:OUTPUTS - 1];
  logic [63:0] want_product [0:OUTPUTS - 1], want_rounded [0:OUTPUTS - 1];
  logic [{d.code_bits - 1}:0] want_code [0:OUTPUTS - 1];
  integer t, k, r, c, i, bad_acc = 0, bad_overflow = 0, bad_product = 0, bad_rounded = 0, bad_code = 0;
`ifdef ACCELSIM_DPI
  import "DPI-C" accelsim_requantize = function int requantize_model(input {kind} acc);
  integer bad_model = 0;
  int model;
`endif

  accelsim_array dut (.*);

  task automatic complain(input int at, input int stage);
    if (bad_acc + bad_overflow + bad_product + bad_rounded + bad_code == 1)
      $display("FIRST output %0d stage %0d", at, stage);
  endtask

  initial begin
    $readmemh("x.mem", xs);
    $readmemh("w.mem", ws);
    $readmemh("bias.mem", biases);
    $readmemh("acc.mem", want_acc);
    $readmemh("overflow.mem", want_overflow);
    $readmemh("product.mem", want_product);
    $readmemh("rounded.mem", want_rounded);
    $readmemh("code.mem", want_code);
    for (t = 0; t < TILES; t = t + 1) begin
      bias = biases[t]; load = 1; step = 0;
      #1 clk = 1; #1 clk = 0;
      load = 0; step = 1;
      for (k = 0; k < STEPS; k = k + 1) begin
        x = xs[t * STEPS + k]; w = ws[t * STEPS + k];
        #1 clk = 1; #1 clk = 0;
      end
      step = 0; flush = 1;
      #1 clk = 1; #1 clk = 0;
      flush = 0;
      for (r = 0; r < ROWS; r = r + 1) begin
        row = r[{row_bits - 1}:0];
        #1;
        for (c = 0; c < COLS; c = c + 1) begin
          i = (t * ROWS + r) * COLS + c;
          if (acc[c * {d.acc_bits} +: {d.acc_bits}] !== want_acc[i]) begin bad_acc += 1; complain(i, 0); end
          if (overflow[c] !== want_overflow[i][0]) begin bad_overflow += 1; complain(i, 1); end
          if (product[c * 64 +: 64] !== want_product[i]) begin bad_product += 1; complain(i, 2); end
          if (rounded[c * 64 +: 64] !== want_rounded[i]) begin bad_rounded += 1; complain(i, 3); end
          if (code[c * {d.code_bits} +: {d.code_bits}] !== want_code[i]) begin bad_code += 1; complain(i, 4); end
`ifdef ACCELSIM_DPI
          model = requantize_model({kind}'($signed(acc[c * {d.acc_bits} +: {d.acc_bits}])));
          if (code[c * {d.code_bits} +: {d.code_bits}] !== model[{d.code_bits - 1}:0]) bad_model += 1;
`endif
        end
      end
    end
    $display("RESULT outputs %0d accumulator %0d overflow %0d product %0d rounded %0d clamped %0d",
             OUTPUTS, bad_acc, bad_overflow, bad_product, bad_rounded, bad_code);
`ifdef ACCELSIM_DPI
    $display("MODEL %0d", bad_model);
`endif
    $finish;
  end
endmodule
"""
