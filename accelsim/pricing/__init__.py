"""Energy, area and latency of schedules: laws with sources, and the CostReport that they fill."""

from accelsim.pricing.activity import Activity
from accelsim.pricing.calibration import calibrate
from accelsim.pricing.costs import CostReport, LayerCost
from accelsim.pricing.energy_tables import calibrate_to_table
from accelsim.pricing.many import Costs, cost_many
from accelsim.pricing.network import price
from accelsim.pricing.scaled import price_both_scalings

__all__ = [
    "Activity",
    "CostReport",
    "Costs",
    "LayerCost",
    "calibrate",
    "calibrate_to_table",
    "cost_many",
    "price",
    "price_both_scalings",
]
