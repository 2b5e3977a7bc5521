"""Whole nets run before and after, in the runtimes they are deployed in, with a verdict."""
