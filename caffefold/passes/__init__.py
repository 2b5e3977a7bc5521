"""Pure steps from one net to the next, each with an account of what it did and why not."""
