"""Nothing outside the arrays is read or written, and no layout of the operands matters."""

from __future__ import annotations

import copy
import ctypes
import mmap
import sys
import tracemalloc

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import simd
from mac_cases import operand

PAGE = mmap.PAGESIZE
needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="guard pages need mprotect")


@pytest.fixture(params=simd.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Every instruction set of this machine in turn."""
    monkeypatch.setenv("ACCELSIM_ISA", request.param)
    simd.current.cache_clear()
    yield request.param
    simd.current.cache_clear()


class Guarded:
    """A copy of an array whose last byte is the last before a page that must not be touched, and whose first is the
    first behind one if at_start."""

    def __init__(self, array: np.ndarray, at_start: bool = False) -> None:
        pages = -(-array.nbytes // PAGE) + 2
        self.memory = mmap.mmap(-1, pages * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        offset = PAGE if at_start else (pages - 1) * PAGE - array.nbytes
        self.array = np.frombuffer(self.memory, array.dtype, array.size, offset).reshape(array.shape)
        self.array[...] = array
        for guard in (base, base + (pages - 1) * PAGE):
            assert protect(guard, PAGE, 0) == 0


CONVS = [
    # x shape, w shape, keywords: direct and copied inputs, tails of every kind
    ((1, 5, 7, 8), (33, 1, 1, 8), {}),
    ((1, 5, 7, 7), (5, 1, 1, 7), {}),
    ((2, 6, 5, 3), (17, 3, 3, 3), {"padding": ((1, 1), (1, 1))}),
    ((1, 6, 5, 12), (4, 3, 2, 12), {"stride": (2, 2)}),
    ((1, 6, 6, 8), (6, 2, 2, 4), {"groups": 2, "dilation": (2, 2)}),
    ((1, 6, 9, 40), (40, 3, 3, 1), {"groups": 40}),
    ((1, 6, 9, 100), (100, 3, 3, 1), {"groups": 100, "padding": ((1, 1), (1, 1))}),
    ((1, 6, 9, 5), (10, 5, 3, 1), {"groups": 5, "stride": (1, 2)}),
    ((1, 7, 7, 16), (16, 7, 7, 1), {"groups": 16}),
]
ACCUMULATORS = [
    {},
    {"accumulator_bits": 16, "overflow": "saturate"},
    {"accumulator_bits": 17, "overflow": "saturate"},
    {"accumulator_bits": 18, "return_events": True},
]


@needs_mprotect
@pytest.mark.parametrize("at_start", [False, True])
@pytest.mark.parametrize("x_shape, w_shape, keywords", CONVS)
def test_inputs_end_at_a_guard_page(isa: str, x_shape: tuple, w_shape: tuple, keywords: dict, at_start: bool) -> None:
    rng = np.random.default_rng(3)
    x, w = operand(rng, x_shape, "uint8"), operand(rng, w_shape, "int8")
    guarded, guarded_w = Guarded(x, at_start), Guarded(w, at_start)
    for accumulator in ACCUMULATORS:
        expected = fast.conv2d(x, w, **keywords, **accumulator)
        np.testing.assert_array_equal(fast.conv2d(guarded.array, guarded_w.array, **keywords, **accumulator), expected)
    for dataflow in ("weight_stationary", "output_stationary", "input_stationary"):
        fast.activity(guarded.array, guarded_w.array, **keywords, dataflow=dataflow, samples=2)
        counts = fast.activity(x, w, **keywords, dataflow=dataflow, samples=0)
        assert fast.activity(guarded.array, guarded_w.array, **keywords, dataflow=dataflow, samples=0) == counts


class Canary:
    """np.empty that hands out memory with known bytes on both sides."""

    SIZE = 4096

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.empty = np.empty

    def __call__(self, shape: object, dtype: object = float, **keywords: object) -> np.ndarray:
        array = self.empty(shape, dtype, **keywords)
        block = np.full(array.nbytes + 2 * self.SIZE, 0xA5, np.uint8)
        self.blocks.append(block)
        return block[self.SIZE : self.SIZE + array.nbytes].view(array.dtype).reshape(array.shape)

    def check(self) -> None:
        assert self.blocks
        for block in self.blocks:
            assert (block[: self.SIZE] == 0xA5).all() and (block[-self.SIZE :] == 0xA5).all()


@pytest.mark.parametrize("x_shape, w_shape, keywords", CONVS)
def test_outputs_and_scratch_keep_their_bounds(
    isa: str, x_shape: tuple, w_shape: tuple, keywords: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canaries around every array that the kernels ask NumPy for: outputs, events and scratch memory."""
    rng = np.random.default_rng(4)
    x, packed = (
        operand(rng, x_shape, "int8"),
        fast.pack_conv2d(operand(rng, w_shape, "int8"), groups=keywords.get("groups", 1)),
    )
    requantize = {"scheme": "onnx-float", "scale": np.float32(2**-9), "zero_point": 3, "qmin": -128, "qmax": 127}
    calls = [
        *ACCUMULATORS,
        {"requantize": requantize},
        {"requantize": {"scheme": "tflite-double", "multiplier": 1 << 30, "shift": -8, "qmin": -9, "qmax": 9}},
    ]
    expected = [fast.conv2d(x, packed, **keywords, **call) for call in calls]
    canary = Canary()
    monkeypatch.setattr(np, "empty", canary)
    got = [fast.conv2d(x, packed, **keywords, **call) for call in calls]
    monkeypatch.undo()
    canary.check()
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def views(array: np.ndarray) -> list[np.ndarray]:
    """The same values in other layouts: reversed, transposed, every other item, read-only."""
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    every_other = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    every_other[...] = array
    backwards = np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    turned = np.asfortranarray(array)
    fixed = array.copy()
    fixed.flags.writeable = False
    odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    return [every_other, backwards, turned, fixed, odd]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("x_shape, w_shape, keywords", CONVS)
def test_layout_does_not_matter(isa: str, dtype: str, x_shape: tuple, w_shape: tuple, keywords: dict) -> None:
    rng = np.random.default_rng(5)
    x, w = operand(rng, x_shape, dtype), operand(rng, w_shape, "int8")
    for accumulator in ACCUMULATORS[:3]:
        expected = fast.conv2d(x, w, **keywords, **accumulator)
        for x_view, w_view in zip(views(x), views(w), strict=True):
            np.testing.assert_array_equal(fast.conv2d(x_view, w_view, **keywords, **accumulator), expected)
            np.testing.assert_array_equal(fast.conv2d(x_view, w, **keywords, **accumulator), expected)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 3, 0), (1, 1, 1), (1, 70, 1), (70, 1, 70)])
@pytest.mark.parametrize("accumulator", ACCUMULATORS)
def test_empty_and_thin(isa: str, shape: tuple[int, int, int], accumulator: dict) -> None:
    m, k, n = shape
    rng = np.random.default_rng(6)
    a, b = operand(rng, (m, k), "int8"), operand(rng, (k, n), "int8")
    got = fast.matmul(a, b, **accumulator)
    from accelsim_kernels import reference

    np.testing.assert_array_equal(got, reference.matmul(a, b, **accumulator))


def test_packed_weights_are_a_copy() -> None:
    b = np.ones((4, 3), np.int8)
    packed = fast.pack(b)
    b[...] = 0
    assert (fast.matmul(np.ones((2, 4), np.int8), packed) == 4).all()


def test_packed_weights_can_be_copied_to_another_process() -> None:
    packed = fast.pack_conv2d(np.ones((2, 1, 1, 4), np.int8))
    x = np.ones((1, 2, 2, 4), np.int8)
    fast.conv2d(x, packed)
    twin = copy.deepcopy(packed)
    np.testing.assert_array_equal(fast.conv2d(x, twin), fast.conv2d(x, packed))


#: input size, channels, output channels, taps, stride, groups
LAYERS = [
    (28, 32, 64, 3, 1, 1),
    (7, 256, 128, 3, 1, 1),
    (64, 3, 32, 7, 2, 1),
    (28, 96, 96, 3, 1, 96),
    (28, 128, 64, 1, 2, 1),
]
WALKS = {
    "exact": {},
    "requantized": {
        "requantize": {"scheme": "tflite-double", "multiplier": 1 << 30, "shift": -8, "qmin": -128, "qmax": 127}
    },
    **{f"saturate {bits}": {"accumulator_bits": bits, "overflow": "saturate"} for bits in (12, 16, 17, 20, 32)},
    "events": {"accumulator_bits": 18, "return_events": True},
    "tree": {"accumulator_bits": 16, "overflow": "saturate", "order": "tree:3", "return_events": True},
    "levels": {"levels": [(12, "saturate", 8), (32, "wrap", None)]},
    "folded": {"accumulator_bits": 18, "overflow": "saturate", "zero_point_at": "folded", "x_zero_point": 3},
}


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("layer", LAYERS)
def test_extra_memory_of_a_layer(walk: str, layer: tuple[int, ...]) -> None:
    """What a call asks NumPy for besides its results is at most a quarter of the input unfolded to int32."""
    size, channels, outputs, taps, stride, groups = layer
    rng = np.random.default_rng(8)
    x = np.maximum(rng.normal(0, 40, (1, size, size, channels)), 0).astype(np.uint8)
    packed = fast.pack_conv2d(operand(rng, (outputs, taps, taps, channels // groups), "int8"), groups=groups)
    pads = (taps // 2, taps // 2)
    keywords = {"stride": (stride, stride), "padding": (pads, pads), "groups": groups, **WALKS[walk]}
    fast.set_threads(1)
    try:
        fast.conv2d(x, packed, **keywords)  # prepared once for all calls
        for route in packed.plans.values():
            step = route.product.step if route.product is not None else route._general
            step._rooms.clear()
        tracemalloc.start()
        results = fast.conv2d(x, packed, **keywords)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        fast.set_threads(None)
    results = results if isinstance(results, tuple) else (results,)
    unfolded = 4 * results[0].shape[1] * results[0].shape[2] * taps * taps * channels
    assert peak - sum(array.nbytes for array in results) <= max(unfolded // 4, 1 << 16)
