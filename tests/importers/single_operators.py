"""Random .tflite files of one operator: every attribute that the reader knows, at random."""

from __future__ import annotations

import importlib

from one_operator import SINGLE

for _module in ("elementwise", "on_windows", "with_weights", "of_movement"):
    importlib.import_module(f"operators_{_module}")

__all__ = ["SINGLE"]
