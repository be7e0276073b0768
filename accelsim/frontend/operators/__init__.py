"""The torch operators that can be captured and lowered; importing this fills the table."""

from __future__ import annotations

from accelsim.frontend.operators import arithmetic, mac, pool, shape  # noqa: F401
