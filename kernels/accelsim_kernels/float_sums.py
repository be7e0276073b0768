"""Products of codes summed in float32 between quantizers, in the order of MLAS, ONNX Runtime's CPU kernels (E60).

x (M, K) times w (K, N) is summed in one of three walks:
- panels: blocks of k one after the other, in each a chain of fused multiply-adds from 0; blocks are added in order.
- fours (M = 1): products of four k, rounded each, are added up and then to the sum.
- lanes (a contiguous dot product): eight lanes of rounded products, added up at the end in an order that depends on
  whether the output is among the last N mod 4.
Source: onnxruntime core/mlas/lib: sgemm.cpp, convolve.cpp, x86_64/SgemmKernelM1Avx.S, SgemmKernelM1TransposeBAvx.S.
One thread of the runtime: more threads cut images narrower than 64 pixels into pieces, which can change a block.
"""

from __future__ import annotations

import math

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels._jit import address, kernel
from accelsim_kernels._threads import run
from accelsim_kernels.floats import positive

_F = np.float32
_LANES = 8
_COLUMNS, _ROWS = 16, 4  # as float_sums_job has them, which is imported only to compile


def float_matmul(
    a, b, *, a_scale, b_scale, scale, bias=None, b_turned: bool = False, a_zero_point=0, b_zero_point=0, zero_point=0,
    qmin=-128, qmax=127,
) -> np.ndarray:  # fmt: skip
    """The codes of a (M, K) times b (K, N) as a float operator between quantizers computes them (E60).

    b_scale, b_zero_point: scalars or (N,). bias: (N,) float32, where the sums start. b_turned: the runtime holds b as
    (N, K), as Gemm with transB does; the result can differ in the last bit where M or N is 1. Ties to even.
    """
    x, w = _real("a", a, a_scale, a_zero_point), _real("b", b, b_scale, b_zero_point)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ValueError(f"a and b must be (M, K) and (K, N), got {x.shape} and {w.shape}")
    total = sums(x, w, bias, b_turned)
    return quantized(total, scale, zero_point, qmin, qmax)


def float_conv2d(
    x, w, *, x_scale, w_scale, scale, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
    x_zero_point=0, w_zero_point=0, zero_point=0, qmin=-128, qmax=127,
) -> np.ndarray:  # fmt: skip
    """The codes of a convolution as a float operator between quantizers computes them (E60), its bias added last.

    x: (N, H, W, C); w: (K, fy, fx, C / groups); w_scale, w_zero_point: scalars or (K,); bias: (K,) float32.
    """
    w = domain.codes("w", w)
    if w.ndim != 4 or len(w) % groups:
        raise ValueError(f"w must be (K, fy, fx, C / groups) with K in {groups} groups, got shape {w.shape}")
    real = _real("x", x, x_scale, x_zero_point)
    weights = _real("w", w.reshape(len(w), -1).T, w_scale, w_zero_point).T.reshape(w.shape)
    taps, turned = patches(real, w.shape[1:3], stride, padding, dilation, groups)
    filters = weights.transpose(0, 3, 1, 2).reshape(groups, len(w) // groups, -1)  # k runs over (c, fy, fx)
    total = _grouped(taps, filters, turned)
    if bias is not None:
        total = total + np.asarray(bias, _F)
    return quantized(total, scale, zero_point, qmin, qmax)


def quantized(total: np.ndarray, scale, zero_point, qmin, qmax) -> np.ndarray:
    """Codes of float32 numbers: divided by the scale, ties to even, zero point after rounding."""
    code = np.rint(np.clip(total / positive("scale", scale, _F), _F(qmin - zero_point), _F(qmax - zero_point)))
    return (code.astype(np.int64) + zero_point).astype(domain.narrowest_dtype(qmin, qmax))


def patches(x: np.ndarray, kernel_size, stride, padding, dilation, groups: int) -> tuple[np.ndarray, bool]:
    """((N, oy, ox, groups, K) numbers under each window, whether they are contiguous where the runtime reads them)."""
    n, _, width, channels = x.shape
    inner = channels // groups
    padded = np.pad(x, ((0, 0), *map(tuple, padding), (0, 0)))
    span = [d * (f - 1) + 1 for d, f in zip(dilation, kernel_size, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, (1, 2))[:, :: stride[0], :: stride[1]]
    windows = windows[..., :: dilation[0], :: dilation[1]]
    rows, columns = windows.shape[1:3]
    taps = windows.reshape(n, rows, columns, groups, -1)
    plain = tuple(stride) == (1, 1) and tuple(dilation) == (1, 1) and not np.any(padding)
    whole = plain and inner == 1 and kernel_size[1] == width and tuple(kernel_size) != (1, 1)
    return taps, whole


def panel(columns: int, terms: int) -> int:
    """Terms of a block of the walk "panels" over outputs of that many columns."""
    width = block = 128
    if columns >= terms:
        while block // 2 >= terms:
            block //= 2
    else:
        while width > 16 and width // 2 >= columns:
            width, block = width // 2, block * 2
    return block


def sums(x: np.ndarray, w: np.ndarray, bias, turned: bool) -> np.ndarray:
    """x (M, K) times w (K, N), started at the bias."""
    (rows, terms), columns = x.shape, w.shape[1]
    start = None if bias is None else np.asarray(bias, _F)
    if rows == 1 and turned:
        return _started(lanes(x[0], w.T, np.arange(columns), columns)[None], start)
    if rows == 1:
        return fours(w.T, x[0], start)[None]
    if columns == 1 and (not turned or terms == 1):
        return _started(lanes(w[:, 0], x, np.arange(rows), rows)[:, None], start)
    return panels(x, w, panel(columns, terms), start)


def _grouped(taps: np.ndarray, filters: np.ndarray, turned: bool) -> np.ndarray:
    """Sums of (N, oy, ox, groups, K) with (groups, filters, K): (N, oy, ox, groups * filters)."""
    n, rows, columns, groups, terms = taps.shape
    count = filters.shape[1]
    if count == 1:
        one = filters[:, 0]
        if turned:
            places = np.broadcast_to(np.arange(rows * columns).reshape(rows, columns, 1), (n, rows, columns, groups))
            return lanes(one, taps, places, rows * columns)
        return fours(taps, one, None)
    if rows * columns == 1 and not turned:
        found = lanes(taps[:, 0, 0, :, None], filters, np.arange(count), count)
        return found.reshape(n, 1, 1, groups * count)
    block = panel(rows * columns, terms)
    out = np.empty((n, rows, columns, groups, count), _F)
    for group in range(groups):
        for image in range(n):  # the numbers of one image at a time: windows overlap, their copies are large
            part = panels(taps[image, :, :, group].reshape(-1, terms), filters[group].T, block, None)
            out[image, :, :, group] = part.reshape(rows, columns, count)
    return out.reshape(n, rows, columns, groups * count)


def panels(x: np.ndarray, w: np.ndarray, block: int, start) -> np.ndarray:
    """(M, K) times (K, N): chains of fused multiply-adds over blocks of k, added to the start."""
    rows, columns = len(x), w.shape[1]
    wide = -(-columns // _COLUMNS) * _COLUMNS
    weights, out = np.zeros((len(w), wide), _F), np.zeros((rows, wide), _F)
    weights[:, :columns] = w
    if start is not None:
        out[:, :columns] = start
    given = np.ascontiguousarray(x, _F)

    def job(workers: int) -> tuple[np.ndarray, object]:
        tiles = np.empty((workers, _ROWS, wide), _F)
        at = [address(held) for held in (given, weights, out, tiles)]
        return np.array([*at, rows, len(w), wide, block], np.int64), tiles

    run(kernel("float_sums_job", "add_panels"), job, given.size * wide)
    return out[:, :columns]


def fours(x: np.ndarray, w: np.ndarray, start) -> np.ndarray:
    """Sums over the last axis of x and w, broadcast: products of four (then two, one) added up, then to the sum."""
    terms = x.shape[-1]
    total = _F(0) if start is None else start
    place = 0
    while place < terms:
        count = next(size for size in (4, 2, 1) if terms - place >= size)
        part = x[..., place] * w[..., place]
        for k in range(place + 1, place + count):
            part = part + x[..., k] * w[..., k]
        total = part + total
        place += count
    return total


def lanes(x: np.ndarray, w: np.ndarray, places: np.ndarray, outputs: int) -> np.ndarray:
    """Sums over the last axis of x and w, broadcast, in eight lanes; places: of each result among `outputs`."""
    terms = w.shape[-1]
    wide = math.ceil(terms / _LANES) * _LANES
    x, w = (np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, wide - terms)]) for v in (x, w))
    total: np.ndarray = np.zeros(_LANES, _F)
    for k in range(0, wide, _LANES):
        total = total + x[..., k : k + _LANES] * w[..., k : k + _LANES]
    low, high = total[..., :4], total[..., 4:]
    four, one = (add(low) + add(high) for add in (_in_turn, _in_pairs))
    two = (low[..., 0] + low[..., 2] + (high[..., 0] + high[..., 2])) + (
        low[..., 1] + low[..., 3] + (high[..., 1] + high[..., 3])
    )
    rest = outputs % 4
    last_pair = (places >= outputs - rest) & (places < outputs - rest + (rest & 2))
    return np.where(places < outputs - rest, four, np.where(last_pair, two, one)).astype(_F)


def _in_turn(v: np.ndarray) -> np.ndarray:
    return ((v[..., 0] + v[..., 1]) + v[..., 2]) + v[..., 3]


def _in_pairs(v: np.ndarray) -> np.ndarray:
    return (v[..., 0] + v[..., 1]) + (v[..., 2] + v[..., 3])


def _started(total: np.ndarray, start) -> np.ndarray:
    return total if start is None else total + start


def _real(name: str, values, scale, zero_point) -> np.ndarray:
    """What codes stand for, rounded to float32; scale and zero point: scalars, or along the last axis."""
    codes = domain.codes(name, values)
    return (codes.astype(np.int64) - zero_point).astype(_F) * positive(f"{name}_scale", scale, _F)
