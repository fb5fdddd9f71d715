"""The only place where a worker loads a model."""

import gc
import sys
from typing import Any

from udfs.encoders.backends import load_real
from udfs.encoders.fake import FakeEncoder
from udfs.encoders.protocol import Encoder
from udfs.models.source import is_fake
from udfs.specs import InferenceSpec, prompt_of

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
    weights = (model.digest, spec.device, spec.dtype, spec.backend, spec.cache or "")
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
    return load_real(spec, cores, partition)
