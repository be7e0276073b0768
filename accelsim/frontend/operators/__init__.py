"""The torch operators that can be captured and lowered; importing this fills the table."""

from __future__ import annotations

from accelsim.frontend.operators import (  # noqa: F401
    arithmetic,
    functions,
    lines,
    mac,
    padding,
    pool,
    product,
    resize,
    shape,
    split,
    transpose_conv,
)
