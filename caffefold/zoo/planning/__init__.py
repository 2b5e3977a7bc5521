"""Which models a zoo has: found by content, named by a manifest, cached until a file changes."""
