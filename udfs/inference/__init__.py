"""Turns windows of texts into embeddings: passes, token budget, pipeline, meter and calibration. Plain Python."""
