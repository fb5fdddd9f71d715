"""The Delta tables of a store: where they are, how they are written, and who may write them."""

from spark_jobs.store.open_space import read_vectors

__all__ = ["read_vectors"]
