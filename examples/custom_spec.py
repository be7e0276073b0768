"""An accelerator of your own: a YAML file, variants of it in Python, and what narrow accumulators do."""

from pathlib import Path

import accelsim as acs
from accelsim.frontend.digits import load_digits_data, trained

data = load_digits_data()
model = trained("resnet")
graph = acs.from_torch(model, data.calibration)
test = (data.test_images[:200], data.test_labels[:200])

narrow = acs.load_spec(Path(__file__).with_name("narrow_accumulators.yaml"))
for bits in (16, 18, 20):
    spec = narrow.replace(**{"array.accumulators.bits": bits})
    report = acs.evaluate(graph, test, spec, float_model=model)
    hit = sum(event.outputs_with_events for event in report.events)
    worst = max(report.events, key=lambda event: event.fraction)
    print(f"{bits}-bit accumulators: {report.accuracy:.2%} right, {report.energy_pj / 1e6:.2f} µJ;", end=" ")
    print(f"{hit} outputs saturated, most in {worst.name} ({worst.fraction:.2%})")
