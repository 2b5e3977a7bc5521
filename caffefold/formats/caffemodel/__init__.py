"""Snapshots of weights: indexed by byte ranges, written in one pass."""
