"""Every Numba flag in one place."""

from __future__ import annotations

import numba

njit = numba.njit(nogil=True)
