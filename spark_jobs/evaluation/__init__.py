"""Retrieval against relevance judgments, and the model against scored sentence pairs."""
