"""Quantization-aware training through the hardware's own integers: float, post-training and trained accuracy.

    python examples/qat_digits.py            # ResNet-like, 2-bit weights, 4-bit activations; about a minute

The loop is an ordinary one; what it trains is a torch module whose forward pass is the integer simulation. The learning
rate was chosen on held-out training images: see qat_learning_rate.py.
"""

import argparse

import numpy as np
import torch
from torch import nn

import accelsim as acs
from accelsim.frontend.digits import NETWORKS, accuracy, load_digits_data, trained

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--network", default="resnet", choices=NETWORKS)
parser.add_argument("--weight-bits", type=int, default=2)
parser.add_argument("--activation-bits", type=int, default=4)
parser.add_argument("--epochs", type=int, default=6)
options = parser.parse_args()

torch.set_num_threads(1)
data = load_digits_data()
model = trained(options.network)
widths = {"weight_bits": options.weight_bits, "activation_bits": options.activation_bits}


def top1(graph: acs.IntegerGraph) -> float:
    """Fraction of test images, every bit as the accelerator computes it."""
    run = acs.simulate(graph, data.test_images, "edge-16x16")
    return float((run.real().argmax(axis=1) == data.test_labels).mean())


print(f"float            {accuracy(model, data.test_images, data.test_labels):7.2%}")
print(f"post-training    {top1(acs.from_torch(model, data.calibration, **widths)):7.2%}")

prepared = acs.prepare_qat(model, data.calibration, **widths)
images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
optimizer = torch.optim.SGD(prepared.parameters(), lr=0.01, momentum=0.9, nesterov=True)
batches = -(-len(labels) // 32)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs=options.epochs, steps_per_epoch=batches)
loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
generator = torch.Generator().manual_seed(0)
for epoch in range(options.epochs):
    total = 0.0
    for chosen in torch.randperm(len(labels), generator=generator).split(32):
        optimizer.zero_grad()
        loss = loss_of(prepared(images[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(chosen)
    print(f"  epoch {epoch + 1}: loss {total / len(labels):.3f}")

prepared.eval()
graph = acs.from_torch(prepared)
print(f"trained integers {top1(graph):7.2%}")
with torch.no_grad():
    mine = prepared(torch.from_numpy(data.test_images)).numpy()
equal = np.array_equal(mine, acs.simulate(graph, data.test_images).real().astype(np.float32))
print(f"forward pass and integer simulation agree on every output: {equal}")
