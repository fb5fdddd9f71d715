"""Everything that runs on executors: chunking, model loading, inference and search. No sessions, no tables."""

__version__ = "0.1.0"
