"""Template -> one concrete net of one phase."""
