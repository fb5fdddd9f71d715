"""Exact search over a space: queries, ranking, and how hits are shown."""
