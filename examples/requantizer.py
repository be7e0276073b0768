"""A requantizer for new hardware: does it agree with a runtime, how wide must its multiplier be, which vectors?"""

import numpy as np

import accelsim as acs
from accelsim.proof.golden import golden_vectors
from accelsim.proof.vector_files import write_vectors

scale = 0.0055243

# the 255 steps of an int8 output, compared; then every multiplier at one shift, by a solver
print(acs.prove("tflite-double", "tosa-single", scale=scale, zero_point=3, method="thresholds", limit=2))
print(acs.prove("tflite-double", "tosa-double", shift=-7))


# a datapath of one's own, as a function of an array of accumulators
def without_nudge(acc: np.ndarray) -> np.ndarray:
    return np.clip((acc * 1518508021) >> 38, -128, 127)


proof = acs.prove(without_nudge, "tosa-single", scale=scale, accumulator_range=(-50000, 50000), limit=2)
print(f"without the nudge {proof.visible} codes differ, first at accumulator {proof.counterexamples[0].accumulator}")

# the narrowest multiplier that stays within 0.52 of a code of the exact product
print(f"{acs.smallest_multiplier(scale, bound_lsb=0.52).bits}-bit multipliers are enough")

# golden vectors that tell the design from the bugs that such designs have
requantizer = acs.Requantizer.from_scale("tflite-double", scale, zero_point=3)
print(write_vectors(golden_vectors(requantizer, count=2000), "vectors"))
