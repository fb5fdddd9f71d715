"""The systems that vectors are exported to. Knows Arrow batches; no Spark and no store."""
