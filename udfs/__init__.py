"""Everything that runs on executors: chunking, model loading, inference and search. It uses no session and no table."""

__version__ = "0.1.0"
