"""The interface between models and inference, and the only place where a worker loads a model."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from udfs.encoders.fake import FakeEncoder
from udfs.encoders.tokens import Tokenized
from udfs.models.fingerprint import model_fingerprint
from udfs.models.source import is_fake
from udfs.specs import InferenceSpec, Precision


class Encoder(Protocol):
    """A model that turns texts into vectors.

    Two threads share an encoder: one calls `tokenize`, the other `forward`.

    Attributes:
        device: The torch device that it runs on.
        dtype: Floating-point type of its forward pass.
        is_padded: Whether a forward pass costs rows times the longest text, instead of the sum of all tokens.
    """

    device: str
    dtype: Precision
    is_padded: bool

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Converts texts to the input of a forward pass, and counts their tokens before truncation."""

    def forward(self, items: Sequence[Any]) -> Callable[[], NDArray[np.float32]]:
        """Starts one forward pass. Call the result to wait for the rows: (n, dimension) float32, row i for item i."""

    def exact(self, item: Any) -> NDArray[np.float32]:
        """Embeds one text alone in float32; returns (1, dimension)."""


_loaded: dict[tuple[str, ...], Encoder] = {}


def load_encoder(spec: InferenceSpec, cores: int = 1, partition: int = 0) -> Encoder:
    """Loads a model, once per process.

    The cache lives as long as the worker process, so `spark.python.worker.reuse` must stay on, as it is by default.

    Args:
        spec: The model and how to run it.
        cores: Processor cores that inference may use.
        partition: Number of the task's partition. It chooses among several GPUs when the model is first loaded.

    Returns:
        The encoder; the same object for equal specs.

    Raises:
        InputError: The model folder on this machine differs from the one on the driver.
    """
    key = (model_fingerprint(spec.model), spec.model.query_prompt, spec.role, spec.device, spec.dtype, spec.backend)
    if key not in _loaded:
        if is_fake(spec.model.path):
            _loaded[key] = FakeEncoder(spec.model.dimension, spec.device)
        else:
            # This imports torch, which takes seconds and is not needed for a fake model.
            from udfs.encoders.sentence import SentenceEncoder

            _loaded[key] = SentenceEncoder(spec, cores, partition)
    return _loaded[key]
