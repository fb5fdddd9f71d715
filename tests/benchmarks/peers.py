"""Peers from the package index, each in an environment of its own, made once beside the project's."""

import sys

from tests.support.environments import python_with

# The same arithmetic for all of them.
_TORCH = ("torch==2.15.0", "transformers==5.23.0")
_SPARK = ("pyspark==4.2.0", "delta-spark==4.4.0", "pandas==2.3.3", "pyarrow==26.0.1", "setuptools")
PEERS: dict[str, tuple[str, ...]] = {
    "daft": (
        "daft[deltalake,iceberg]==0.7.26",
        "sentence-transformers==6.2.0",
        "torchvision==0.29.2",
        "pillow",
        *_TORCH,
    ),
    "distribatch": ("distribatch[spark,transformers]==0.1.0a1", *_SPARK, *_TORCH),
    "spark-infer-ai": ("spark-infer-ai==0.1.5", *_SPARK, *_TORCH),
}


def python_of(name: str) -> str:
    """Finds the interpreter of a contender; makes its environment the first time.

    Args:
        name: Name of the contender.

    Returns:
        Path of the interpreter; this one's where the contender is no peer.
    """
    return python_with(name, PEERS[name]) if name in PEERS else sys.executable
