"""Which learning rate quantization-aware training takes on the digits, without a look at the test images.

    python examples/qat_learning_rate.py            # about a quarter of an hour

The training images are split 862/216: float networks are trained anew on the larger part, trained on with each rate
through their integers, and judged by the cross-entropy of the integer simulation on the smaller one.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

import accelsim as acs
from accelsim.frontend import digits

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--networks", nargs="*", default=list(digits.NETWORKS), choices=digits.NETWORKS)
parser.add_argument("--weight-bits", nargs="*", type=int, default=[4, 2])
parser.add_argument("--rates", nargs="*", type=float, default=[0.003, 0.01, 0.03])
parser.add_argument("--epochs", type=int, default=8)
options = parser.parse_args()

whole = digits.load_digits_data()
parts = train_test_split(
    whole.train_images, whole.train_labels, test_size=216, random_state=0, stratify=whole.train_labels
)
images, held_images, labels, held_labels = map(np.ascontiguousarray, parts)
split = digits.Digits(images, labels, held_images, held_labels)


def judged(model: torch.nn.Module, weight_bits: int, rate: float) -> dict[str, float]:
    """Loss and top-1 on the held-out images, by integer simulation."""
    prepared = acs.prepare_qat(model, split.calibration, weight_bits=weight_bits, activation_bits=4)
    protocol = digits.Protocol(epochs=options.epochs, peak_learning_rate=rate, weight_decay=0.0)
    digits.train(prepared, protocol=protocol, data=split)
    logits = torch.from_numpy(acs.simulate(prepared.lower(), held_images).real())
    return {
        "loss": torch.nn.functional.cross_entropy(logits, torch.from_numpy(held_labels)).item(),
        "held-out top-1 %": 100 * float((logits.argmax(1).numpy() == held_labels).mean()),
    }


rows = []
for name in options.networks:
    model = digits.build(name)
    digits.train(model, protocol=digits.PROTOCOL, data=split)
    for bits in options.weight_bits:
        for rate in options.rates:
            rows.append({"network": name, "widths": f"W{bits}A4", "rate": rate, **judged(model, bits, rate)})
            print(rows[-1], flush=True)
table = pd.DataFrame(rows)
print(table.to_string(index=False, float_format="%.4g"))
mean = table.groupby("rate")["loss"].mean()
print(f"chosen: {mean.idxmin()} (mean loss {mean.min():.4f})")
