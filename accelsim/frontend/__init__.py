"""The torch frontend: the only place that imports torch (inside its modules, not here)."""

from __future__ import annotations
