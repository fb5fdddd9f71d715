"""A deterministic encoder without torch, for fast tests and dry trials."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FAKE_MAX_TOKENS = 256
_TOKEN = re.compile(r"\w{1,12}|[^\w\s]")
# Texts that hold these words fail on purpose, so that quarantine can be tried without a broken model.
RAISES = "FAKE-ENCODER-RAISES"
NOT_FINITE = "FAKE-ENCODER-NAN"


class FakeTokenCounter:
    """Counts words and marks as tokens, plus two special tokens."""

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text alone.

        Args:
            texts: Any texts.

        Returns:
            One count for each text.
        """
        return [sum(1 for _ in _TOKEN.finditer(text)) for text in texts]

    def inputs(self, texts: Sequence[str]) -> list[int]:
        """Counts what the model would be given for each text, special tokens included.

        Args:
            texts: Any texts.

        Returns:
            One count for each text.
        """
        return [count + 2 for count in self.pieces(texts)]


class FakeEncoder:
    """Draws each vector from a generator seeded with the text's SHA-256: equal texts, equal unit vectors.

    Args:
        dimension: Numbers of each vector.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.device = "cpu"
        self._counter = FakeTokenCounter()

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, two special ones included.

        Args:
            texts: Any texts.

        Returns:
            One count for each text.
        """
        return self._counter.inputs(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Makes a unit vector of each text.

        Args:
            texts: Any texts; one that holds `FAKE-ENCODER-RAISES` or `FAKE-ENCODER-NAN` fails as it says.

        Returns:
            (n, dimension) float32.

        Raises:
            RuntimeError: A text asks for it.
        """
        if any(RAISES in text for text in texts):
            raise RuntimeError("the fake encoder was asked to fail")
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            values = np.random.default_rng(seed).standard_normal(self.dimension)
            row[:] = np.nan if NOT_FINITE in text else values / np.linalg.norm(values)
        return rows
