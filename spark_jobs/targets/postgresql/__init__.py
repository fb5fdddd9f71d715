"""A table of PostgreSQL with pgvector."""
