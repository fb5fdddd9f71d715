"""The interface between models and inference, and the only place where a worker loads a model."""

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from udfs.encoders.fake import FakeEncoder
from udfs.encoders.tokens import Tokenized
from udfs.models.source import is_fake
from udfs.specs import InferenceSpec, Precision, prompt_of


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

    def twin(self, spec: InferenceSpec) -> Self | None:
        """Makes an encoder for another spec of the same model from the weights that this one holds.

        Returns None if the model has to be loaded again.
        """


# The uses of one model: documents and queries, each with its own prompt, in two numbers of dimensions.
_MOST_USES = 4
# The encoders of the one model that this process holds: first what decides its weights, then what is done with them.
_loaded: dict[tuple[tuple[str, ...], tuple[Any, ...]], Encoder] = {}


def load_encoder(spec: InferenceSpec, cores: int = 1, partition: int = 0) -> Encoder:
    """Loads a model, or returns the one that this process already holds.

    A process holds one model at a time: a worker lives as long as its session, and the models of all spaces that the
    session has seen would fill the memory, above all that of a GPU. So `spark.python.worker.reuse` must stay on, as it
    is by default. How vectors are stored is no part of a model, nor are prompts, which only need another tokenizer.

    Args:
        spec: The model and how to run it.
        cores: Processor cores that inference may use.
        partition: Number of the task's partition. It chooses among several GPUs when the model is first loaded.

    Returns:
        The encoder; the same object for specs that differ only in how vectors are stored or passes are formed.

    Raises:
        InputError: The model folder on this machine differs from the one on the driver.
    """
    model = spec.model
    weights = (model.digest, spec.device, spec.dtype, spec.backend)
    use = (prompt_of(spec), model.dimension, model.normalize, model.max_tokens)
    if (weights, use) not in _loaded:
        encoder = _twin(weights, spec)
        if encoder is None:
            # Before the next model is loaded, because a GPU may not have room for two.
            release_encoders()
            encoder = _load(spec, cores, partition)
        elif len(_loaded) == _MOST_USES:
            del _loaded[next(iter(_loaded))]
        _loaded[weights, use] = encoder
    return _loaded[weights, use]


def release_encoders() -> None:
    """Lets go of the model that this process holds, and returns its memory."""
    if not _loaded:
        return
    _loaded.clear()
    # Modules and hooks refer to each other, and the allocator of a GPU keeps what it was given back.
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _twin(weights: tuple[str, ...], spec: InferenceSpec) -> Encoder | None:
    return next((encoder.twin(spec) for (held, _), encoder in _loaded.items() if held == weights), None)


def _load(spec: InferenceSpec, cores: int, partition: int) -> Encoder:
    if is_fake(spec.model.path):
        return FakeEncoder(spec.model.dimension, spec.device)
    # This imports torch, which takes seconds and is not needed for a fake model.
    from udfs.encoders.sentence import SentenceEncoder

    return SentenceEncoder(spec, cores, partition)
