"""Proofs and comparisons, written apart from the code they check."""
