"""Which widths are worth their energy: a grid of weight and activation bits, and its Pareto front."""

import accelsim as acs
from accelsim.frontend.digits import load_digits_data, trained

data = load_digits_data()
sweep = acs.sweep(
    trained("resnet"),
    data.calibration,
    (data.test_images, data.test_labels),
    specs=["edge-16x16"],
    weight_bits=(2, 3, 4, 8),
    activation_bits=(4, 8),
    results="sweep.jsonl",  # stop it and start it again: finished points are not computed twice
)
print(sweep.pareto[["weight_bits", "activation_bits", "accuracy", "energy_pj", "sqnr_db"]].to_string(index=False))
sweep.save("sweep.html")
