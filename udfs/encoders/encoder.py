"""What inference needs of a model, and the one place where a worker loads it."""

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

    Two threads share it: one calls `tokenize`, the other `forward`.

    Attributes:
        device: The torch device it runs on.
        dtype: Arithmetic of its forward pass.
        is_padded: Whether a pass costs its rows times its longest text; else it costs the sum of their tokens.
    """

    device: str
    dtype: Precision
    is_padded: bool

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Reads texts: what a pass takes of each, and its tokens before truncation."""

    def forward(self, items: Sequence[Any]) -> Callable[[], NDArray[np.float32]]:
        """Starts one forward pass; what it returns waits for the rows: (n, dimension) float32, row i for item i."""

    def exact(self, item: Any) -> NDArray[np.float32]:
        """Embeds one text alone in float32: (1, dimension)."""


_loaded: dict[tuple[str, ...], Encoder] = {}


def load_encoder(spec: InferenceSpec, cores: int = 1, partition: int = 0) -> Encoder:
    """Loads a model once per process; runs on executors, and anywhere else that texts are embedded.

    The cache lives as long as its worker process, hence `spark.python.worker.reuse` must stay on, as it is by default.

    Args:
        spec: What to load and how to run it.
        cores: Processor cores that inference may use.
        partition: Number of the task's partition; on a machine with several GPUs the first one decides.

    Returns:
        The encoder, the same object for equal descriptions.

    Raises:
        InputError: The model folder here is not the one that the driver saw.
    """
    key = (model_fingerprint(spec.model), spec.model.query_prompt, spec.role, spec.device, spec.dtype, spec.backend)
    if key not in _loaded:
        if is_fake(spec.model.path):
            _loaded[key] = FakeEncoder(spec.model.dimension, spec.device)
        else:
            # Imports torch, which costs seconds and which a fake model's tests do without.
            from udfs.encoders.sentence import SentenceEncoder

            _loaded[key] = SentenceEncoder(spec, cores, partition)
    return _loaded[key]
