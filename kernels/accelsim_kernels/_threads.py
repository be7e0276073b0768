"""Running a kernel on several cores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from accelsim_kernels._jit import Kernel


def run(kernel: Kernel, job: Callable[[int], tuple[np.ndarray, list[np.ndarray]]], work: int) -> None:
    """Run `kernel` on job(workers) -> (arguments, arrays to keep alive)."""
    arguments, held = job(1)
    kernel(arguments, 0, 1)
    del held
