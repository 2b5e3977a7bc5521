"""The proof that a folded net computes what it did, independent of the code that folds."""
