"""Loop nest × array → counts of cycles and accesses, in closed form."""

from accelsim.dataflow.scalesim import ScaleSimCounts, scalesim_compat

__all__ = ["ScaleSimCounts", "scalesim_compat"]
