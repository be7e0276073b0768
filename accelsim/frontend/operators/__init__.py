"""The torch operators that can be captured and lowered; importing this fills the table."""

from __future__ import annotations

from accelsim.frontend.operators import (  # noqa: F401
    arithmetic,
    attention,
    curves,
    embedding,
    functions,
    gathering,
    lines,
    mac,
    mask_inputs,
    norm,
    padding,
    pool,
    product,
    resize,
    selection,
    shape,
    split,
    transpose_conv,
)
