"""Finds a model's folder from its name, and inspects the folder without loading it."""
