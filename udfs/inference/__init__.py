"""Windows of texts through an encoder: passes, token budget, pipeline and meter. Plain Python."""
