"""What determines a metric, for the keys of stored results."""

from __future__ import annotations

from typing import Any

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric
from accelsim.store import digest


def metric_identity(metric: Metric) -> list[Any]:
    """Its name, or a function's code and the values it closes over."""
    if isinstance(metric, str):
        return [metric]
    code = getattr(metric, "__code__", None)
    if code is None:
        raise AccelsimError("with a results file, metric must be 'top1' or a plain function: its code is in the key")
    cells = [cell.cell_contents for cell in metric.__closure__ or ()]
    try:
        digest(cells)
    except TypeError as error:
        raise AccelsimError(f"metric {code.co_name!r} closes over a value that the key cannot hold: {error}") from error
    return [code.co_code.hex(), repr(code.co_consts), repr(code.co_names), *cells]
