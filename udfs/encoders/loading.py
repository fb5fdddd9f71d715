"""Loads a model's weights by sentence-transformers."""

import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from schemas.errors import InputError
from udfs.models.folder import ModelFolder
from udfs.specs import ModelSpec


def prepare(cores: int) -> None:
    """Sets up the libraries for a process that may use this many cores."""
    # The progress bars of every worker would end up in the executors' logs.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Spark sets OMP_NUM_THREADS to spark.task.cpus before torch is imported; the caller knows better.
    torch.set_num_threads(cores)


def load_model(model: ModelSpec, folder: ModelFolder, device: str) -> SentenceTransformer:
    """Loads a model from safetensors, with weights in their stored type, without running any code from its folder.

    Args:
        model: The model's description.
        folder: Its folder on this machine.
        device: Torch device name.

    Returns:
        The model, ready for inference. On the CPU, its weights are still those in the files: see `own_weights`.

    Raises:
        InputError: The folder does not load.
    """
    try:
        loaded = SentenceTransformer(
            folder.root,
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": "auto", "use_safetensors": True} if "Transformer" in folder.modules else None,
        )
        return loaded.eval()
    except Exception as error:  # each library below has its own exceptions
        raise InputError(f"model {model.path} cannot be loaded: {type(error).__name__}: {error}") from error


def own_weights(model: SentenceTransformer, dtype: torch.dtype) -> None:
    """Converts a model to a floating-point type, and copies every weight that is mapped from a file.

    A mapped weight changes in memory when somebody writes to its file, long after the file was checked.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        target = dtype if tensor.is_floating_point() else tensor.dtype
        tensor.data = tensor.data.to(target, copy=tensor.device.type == "cpu")
