"""Transformers in integers: an encoder of handwritten digits at 8 bits, a decoder with cached keys and values."""

import argparse

import numpy as np

import accelsim as acs
from accelsim.decoding import CachedDecoder, generate
from accelsim.frontend.digits import load_digits_data
from accelsim.frontend.sequence_networks import digit_sequences, trained_decoder, trained_encoder

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--network", choices=["vit", "bert"], default="vit")
parser.add_argument("--epochs", type=int, default=30, help="of each training; 30 take half a minute")
options = parser.parse_args()

# the encoder: layer norm, softmax and GELU are integer arithmetic, too
data = load_digits_data()
model = trained_encoder(options.network, epochs=options.epochs)
graph = acs.from_torch(model, data.calibration, weight_bits=8, activation_bits=8)
report = acs.evaluate(graph, (data.test_images, data.test_labels), "edge-16x16", float_model=model)
print(f"{options.network}: float accuracy {report.float_accuracy:.2%}, integer {report.accuracy:.2%}, ", end="")
print(f"{report.cost.total_energy_pj * 1e-6:.1f} µJ per image")
shares = report.layers.groupby("operator")["energy_pj"].sum().sort_values(ascending=False)
print("energy by operator:", ", ".join(f"{kind} {pj / shares.sum():.0%}" for kind, pj in shares.head(5).items()))
report.save("encoder.html")

# the decoder: digits that are the sum of the two before; the same tokens with and without the cache
rows = digit_sequences(256, 13, seed=1)
decoder_graph = acs.from_torch(trained_decoder(epochs=2 * options.epochs), rows[:, :-1])
decoder = CachedDecoder(decoder_graph)
prompt = np.array([[1, 1], [2, 7]])
tokens = decoder.generate(prompt, 8)
assert np.array_equal(tokens, generate(decoder_graph, prompt, 8))
print("decoder continues 1 1 with", *tokens[0], "and 2 7 with", *tokens[1])
step, whole = acs.cost(decoder.step_graph), acs.cost(decoder_graph)
cached, again = (found.cost.total_energy_pj * 1e-6 for found in (step, whole))
print(f"a token with {decoder.cache_size_bytes} bytes of keys and values: {cached:.2f} µJ; without: {again:.2f} µJ")
