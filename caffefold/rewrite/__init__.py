"""Net -> Net. Each pass returns what it changed and what it left alone, with the reason."""
