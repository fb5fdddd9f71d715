"""A deterministic encoder without torch, for fast tests and dry trials."""

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from udfs.chunking.chunks import Reading
from udfs.encoders.protocol import BackendChoice
from udfs.encoders.tokens import Tokenized
from udfs.models.source import FAKE_MAX_TOKENS
from udfs.specs import InferenceSpec, Precision

_TOKEN = re.compile(r"\w{1,12}|[^\w\s]")
# Texts with these words fail on purpose, so that quarantine can be tried without a broken model.
RAISES = "FAKE-ENCODER-RAISES"
NOT_FINITE = "FAKE-ENCODER-NAN"


class FakeTokenCounter:
    """Counts words and punctuation marks as tokens, plus two special tokens."""

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text alone."""
        return [sum(1 for _ in _TOKEN.finditer(text)) for text in texts]

    def inputs(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, including special tokens."""
        return [count + 2 for count in self.pieces(texts)]

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Counts as `inputs` does; it knows every token."""
        return [Reading(count) for count in self.inputs(texts)]


class FakeEncoder:
    """Draws each vector from a generator seeded with the text's SHA-256: equal texts, equal unit vectors.

    Args:
        dimension: Length of each vector.
        device: The device that it claims to run on, so that the assignment of GPUs can be tested without one.
    """

    def __init__(self, dimension: int, device: str = "auto") -> None:
        self.dimension = dimension
        self.device = "cpu" if device == "auto" else device
        self.dtype: Precision = "float32"
        self.is_padded = True
        self.is_on_trial = False
        self.choice = BackendChoice(backend="fake")
        self._counter = FakeTokenCounter()

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Counts the tokens of texts; the items are the texts themselves."""
        counts = self._counter.inputs(texts)
        return Tokenized(texts, [min(count, FAKE_MAX_TOKENS) for count in counts], counts)

    def forward(self, items: Sequence[str]) -> Callable[[], NDArray[np.float32]]:
        """Embeds texts immediately; calling the result returns the rows of `encode`."""
        rows = self.encode(items)
        return lambda: rows

    def exact(self, item: str) -> NDArray[np.float32]:
        """Embeds one text; returns (1, dimension) float32."""
        return self.encode([item])

    def twin(self, spec: InferenceSpec) -> "FakeEncoder":
        """Makes the encoder of another spec; there are no weights to share."""
        return FakeEncoder(spec.model.dimension, spec.device)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Computes a unit vector for each text.

        Args:
            texts: Any texts. A text that contains `FAKE-ENCODER-NAN` gets a vector of NaN.

        Returns:
            (n, dimension) float32.

        Raises:
            RuntimeError: A text contains `FAKE-ENCODER-RAISES`.
        """
        if any(RAISES in text for text in texts):
            raise RuntimeError("the fake encoder was asked to fail")
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            values = np.random.default_rng(seed).standard_normal(self.dimension)
            row[:] = np.nan if NOT_FINITE in text else values / np.linalg.norm(values)
        return rows
