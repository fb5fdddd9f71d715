"""Retrieval against relevance judgements, and the model against scored sentence pairs."""
