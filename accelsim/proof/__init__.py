"""Proofs about requantization arithmetic, and explanations of it."""
