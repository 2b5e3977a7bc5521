"""Training net -> deploy net, not yet folded."""
