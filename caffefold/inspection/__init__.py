"""What is in a net: shapes, costs and the health of its statistics; and plain text for git."""
