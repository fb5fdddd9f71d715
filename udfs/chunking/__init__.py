"""Splitting text into chunks: finding the boundaries in a text, and choosing among them by token count."""
