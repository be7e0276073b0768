"""Energy, area and latency of schedules: laws with sources, and the CostReport that they fill."""

from accelsim.pricing.activity import Activity
from accelsim.pricing.costs import CostReport, LayerCost
from accelsim.pricing.many import Costs, cost_many
from accelsim.pricing.network import price

__all__ = ["Activity", "CostReport", "Costs", "LayerCost", "cost_many", "price"]
