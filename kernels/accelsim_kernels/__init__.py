"""Exact integer kernels of the simulator: arrays and numbers in, arrays out."""
