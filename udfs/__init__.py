"""Everything that runs on executors: chunking, model loading and inference, free of sessions and tables."""

__version__ = "0.1.0"
