"""Versions of what took part in a result."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

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


@cache
def computing() -> dict[str, str]:
    """What computes results, for their keys: versions, and a hash of this program's own sources and tables.

    The hash stands for the version where the program is worked on: what other code computed is not taken for this
    one's. Python itself is left out: it decides no number.
    """
    state = hashlib.sha256()
    for package in ("accelsim", "accelsim_kernels"):
        home = find_spec(package)
        assert home is not None and home.origin is not None
        folder = Path(home.origin).parent
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml", ".csv"):
                state.update(f"<{path.relative_to(folder).as_posix()}>".encode())
                state.update(path.read_bytes())
    found = {package: version for package, version in versions().items() if package != "python"}
    return {**found, "sources": state.hexdigest()[:16]}
