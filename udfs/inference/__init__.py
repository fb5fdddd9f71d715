"""Windows of texts to embeddings: forward passes, token budget, pipeline, meter and calibration. Plain Python."""
