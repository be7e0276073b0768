"""Energy, area and latency of schedules: laws with sources, and the CostReport that they fill."""

from accelsim.pricing.costs import CostReport, LayerCost
from accelsim.pricing.price import price

__all__ = ["CostReport", "LayerCost", "price"]
