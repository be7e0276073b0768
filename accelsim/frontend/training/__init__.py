"""Quantization-aware training: a torch module that computes what the integer graph will compute."""
