"""8-bit operands through a table of all pairs: the same codes, every pair, and the general path where none serves."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import pair_table, reference

RESCALE = {
    "arithmetic": "rescale", "scheme": "tflite-double", "left_shift": 20, "a_multiplier": 1 << 30, "a_shift": 0,
    "b_multiplier": 1717986918, "b_shift": -1, "multiplier": 1431655765, "shift": -19, "a_zero_point": 3,
    "b_zero_point": -7, "zero_point": 5,
}  # fmt: skip
FLOAT = {"arithmetic": "float32", "a_scale": 0.1, "b_scale": 0.07, "scale": 0.13, "a_zero_point": 3, "zero_point": -4}


def pairs(a_dtype: str, b_dtype: str) -> tuple[np.ndarray, np.ndarray]:
    codes = np.arange(256, dtype=np.uint8)
    return np.repeat(codes, 256).view(a_dtype), np.tile(codes, 256).view(b_dtype)


@pytest.mark.parametrize("keywords", [RESCALE, FLOAT], ids=["rescale", "float32"])
@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("uint8", "int8")], ids="·".join)
def test_every_pair(keywords: dict, dtypes: tuple[str, str]) -> None:
    if keywords is FLOAT and dtypes[0] == "uint8":
        keywords = keywords | {"qmin": 0, "qmax": 255}
    a, b = pairs(*dtypes)
    np.testing.assert_array_equal(fast.add(a, b, **keywords), reference.add(a, b, **keywords))


def test_layouts_and_threads() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(-128, 128, (70, 61, 60)).astype(np.int8)
    a, b = whole[::2], whole[1::2].transpose(0, 2, 1)[:, :, :60].transpose(0, 2, 1)
    a = a[:, :60]
    expected = fast.add(a[:1, :1], b[:1, :1], **RESCALE)
    try:
        fast.set_threads(1)
        one = fast.add(a, b, **RESCALE)
        fast.set_threads(3)
        np.testing.assert_array_equal(fast.add(a, b, **RESCALE), one)
    finally:
        fast.set_threads(None)
    np.testing.assert_array_equal(one[:1, :1], expected)
    rows = np.concatenate([fast.add(x, y, **RESCALE) for x, y in zip(a, b, strict=True)])
    np.testing.assert_array_equal(one.reshape(rows.shape), rows)


def test_undefined_pairs_are_refused_only_where_they_occur() -> None:
    """A left shift for which large sums are no int32: small codes pass, and the first wrong one is named."""
    keywords = {"requantize": {"scheme": "tflite-double", "multiplier": 1 << 30, "shift": 20}}
    small = np.full(pair_table.LEAST, 11, np.int8)
    assert (fast.mul(small, small, **keywords) == 127).all()
    large = small.copy()
    large[77] = -128
    with pytest.raises(ValueError, match=r"at index \(77,\)"):
        fast.mul(large, large, **keywords)


def test_parameters_per_channel_and_wide_codes_take_the_general_path() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-128, 128, (2, 128, 64)).astype(np.int8)
    scales = {"scheme": "tflite-double", "multiplier": np.full(64, 1 << 30), "shift": np.arange(64) % 5 - 9}
    keywords = {"requantize": scales}
    np.testing.assert_array_equal(fast.mul(a, b, **keywords), reference.mul(a, b, **keywords))
    wide = a.astype(np.int16) * 5
    np.testing.assert_array_equal(fast.add(wide, b, **RESCALE), reference.add(wide, b, **RESCALE))
