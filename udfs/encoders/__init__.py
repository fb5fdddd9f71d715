"""Turning text into vectors: the fake encoder, the real one, and what speeds it up."""
