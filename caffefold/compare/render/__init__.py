"""How a difference is laid out: text, two columns, markdown, an HTML page, JSON."""
