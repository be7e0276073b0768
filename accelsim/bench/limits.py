"""Peers under the instruction limit that ACCELSIM_ISA sets for us, where they have a setting of their own for it."""

from __future__ import annotations

import os
import sys

from accelsim_kernels import simd

#: read by a peer's library when it loads: oneDNN and FBGEMM inside torch. None are known for "portable"
_SETTINGS = {"avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}}
_OBEDIENT = "torch"


def is_limited() -> bool:
    """Whether our kernels use less than this CPU has."""
    return simd.current() != simd.available()[0]


def limit_peers() -> None:
    """Ask peers that load from now on for no more than our instruction set."""
    settings = _SETTINGS.get(simd.current(), {}) if is_limited() else {}
    if _OBEDIENT not in sys.modules:
        os.environ.update(settings)


def why_unlimited(peer: str) -> str | None:
    """Why a peer cannot be compared under the limit in use; None where it can."""
    if not is_limited():
        return None
    settings = _SETTINGS.get(simd.current())
    if settings is None or not peer.startswith(_OBEDIENT):
        return f"it cannot be limited to {simd.current()}"
    if any(os.environ.get(name) != value for name, value in settings.items()):
        return f"{_OBEDIENT} was loaded before it could be limited to {simd.current()}"
    return None
