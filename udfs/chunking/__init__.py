"""Text to chunks: the boundaries of a text, and the choice among them by tokens."""
