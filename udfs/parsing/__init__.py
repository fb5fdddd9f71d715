"""Documents as they are, turned into Markdown-like text."""
