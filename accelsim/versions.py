"""Versions of what took part in a result."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

_PACKAGES = ("accelsim", "numpy", "numba", "torch")


@cache
def versions() -> dict[str, str]:
    """Package → version, of those that are installed; imports none of them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
