"""Hardware and bits together: which array, dataflow, buffer and widths nothing beats on digits.

Costs of all designs are modeled, accuracy is simulated only where a design can still reach the front, and once for all
hardware that computes the same integers. Run it again: what was simulated is not simulated again.
"""

from __future__ import annotations

import accelsim as acs
from accelsim.frontend.digits import load_digits_data, trained

if __name__ == "__main__":
    data = load_digits_data()
    found = acs.explore(
        trained("resnet"),
        data.calibration,
        (data.test_images, data.test_labels),
        knobs={
            "weight_bits": (2, 3, 4, 8),
            "activation_bits": (4, 8),
            "array": [(8, 8), (16, 16), (32, 32)],
            "dataflow": ("weight_stationary", "output_stationary"),
            "buffer_bytes": (2**15, 2**18),
            "accumulator_bits": (16, 32),
        },
        objectives=("accuracy", "energy", "area"),
        constraints={"area": 1.5},
        simulations=8,  # they go where they promise most
        results="explore.jsonl",
        workers=1,
    )
    print(found)
    print(found.front[["weight_bits", "activation_bits", "array", "accuracy", "energy_pj", "area_mm2"]])
    found.save("explore.html")
    quantization, spec = found.design(found.front.index[0])  # what from_torch and evaluate take
    print(f"the cheapest: {quantization} on a {spec.array.rows}×{spec.array.cols} array")
