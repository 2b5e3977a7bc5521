"""Prototxt as a lossless tree: read by one door, edited, printed as it was."""
