"""The folder where things that can be made again are kept between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """ACCELSIM_CACHE, or `accelsim` in the platform's cache folder (XDG, macOS, Windows); maybe absent.

    Compiled kernels lie beside, unless ACCELSIM_KERNEL_CACHE names another folder for them.
    """
    chosen = os.environ.get("ACCELSIM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "accelsim"
