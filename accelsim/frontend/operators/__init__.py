"""The torch operators that can be captured and lowered; importing this fills the table."""

from __future__ import annotations

from accelsim.frontend.operators import arithmetic, functions, mac, pool, product, resize, shape, split  # noqa: F401
