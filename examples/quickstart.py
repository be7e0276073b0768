"""Accuracy beside cost in ten lines: a small network at 4-bit weights on a 16×16 accelerator."""

import accelsim as acs
from accelsim.frontend.digits import load_digits_data, trained

data = load_digits_data()
model = trained("resnet")  # any torch network in evaluation mode; this one is trained at the first use
graph = acs.from_torch(model, data.calibration, weight_bits=4, activation_bits=8)
report = acs.evaluate(graph, (data.test_images, data.test_labels), "edge-16x16", float_model=model)
print(report)
print(f"{report.accuracy:.2%} of float's {report.float_accuracy:.2%} for {report.energy_pj / 1e6:.2f} µJ")
report.save("report.html")
