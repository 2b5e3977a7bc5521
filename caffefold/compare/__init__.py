"""What changed between two nets: layers, wiring, folds, weights."""
