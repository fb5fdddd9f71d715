"""A PostgreSQL table with pgvector."""
