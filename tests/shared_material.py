"""Where the shared golden material lies, if this machine has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_default = Path(__file__).resolve().parents[2] / "shared"
_chosen = Path(os.environ.get("ACCELSIM_SHARED", _default))

#: the folder of golden vectors and measured cost data, or None where it is absent
SHARED: Path | None = _chosen if (_chosen / "vectors").is_dir() else None

needs_shared = pytest.mark.skipif(
    SHARED is None,
    reason="golden material not found: set ACCELSIM_SHARED to the folder that holds vectors/ and cost/",
)
