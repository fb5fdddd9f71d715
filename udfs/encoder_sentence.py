"""The encoder of real models, over sentence-transformers."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from schemas.errors import InputError
from udfs.model_source import verified_folder
from udfs.specs import InferenceSpec, Precision
from udfs.token_counter import load_token_counter

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str, partition: int = 0) -> str:
    """Decides where the model runs; called on the worker, which alone knows its hardware.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        partition: Number of the task's partition; `auto` spreads partitions over the visible GPUs by it.

    Returns:
        A torch device name.
    """
    if device != "auto":
        return device
    count = torch.cuda.device_count()
    return f"cuda:{partition % count}" if count else "cpu"


def choose_dtype(dtype: str, device: str) -> Precision:
    """Decides the arithmetic of the forward pass.

    Half precision without instructions for it is far slower than float32, hence `auto` asks the hardware.

    Args:
        dtype: `auto` or a torch dtype by name.
        device: Torch device name.

    Returns:
        `float32`, `bfloat16` or `float16`.
    """
    if dtype != "auto":
        return dtype  # type: ignore[return-value]  # settings admit nothing else
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if torch.cpu._is_amx_tile_supported() else "float32"


class SentenceEncoder:
    """A sentence-transformers model in this process.

    Args:
        spec: What to load and how to run it.
        cores: Processor cores that inference may use.
        partition: Number of the task's partition.

    Raises:
        InputError: The folder is not the one that the driver saw, or does not load.
    """

    def __init__(self, spec: InferenceSpec, cores: int, partition: int = 0) -> None:
        model = spec.model
        folder = verified_folder(model)
        # A worker's messages are everybody's log.
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        # Spark sets OMP_NUM_THREADS to spark.task.cpus before torch is imported; the caller knows better.
        torch.set_num_threads(cores)
        self.device = choose_device(spec.device, partition)
        dtype = _DTYPES[choose_dtype(spec.dtype, self.device)]
        try:
            self._model = SentenceTransformer(
                folder.root,
                device=self.device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": dtype, "use_safetensors": True} if "Transformer" in folder.modules else None,
            ).to(dtype)
        except Exception as error:  # every library below has exceptions of its own
            raise InputError(f"model {model.path} cannot be loaded: {type(error).__name__}: {error}") from error
        self._model.eval()
        self._spec = model
        self._prompt = model.document_prompt if spec.role == "document" else model.query_prompt
        self._counter = load_token_counter(model, self._prompt)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, prompt and special tokens included, before truncation.

        Args:
            texts: Any texts.

        Returns:
            One count for each text.
        """
        return self._counter.inputs(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts in one forward pass.

        Args:
            texts: At least one text.

        Returns:
            (n, dimension) float32, of unit length where the model is normalised.
        """
        rows = self._model.encode(
            list(texts),
            # An empty prompt is said, not left out: the model's default prompt must not step in.
            prompt=self._prompt,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_numpy=False,
            convert_to_tensor=True,
        )
        matrix = rows.to(torch.float32).cpu().numpy()[:, : self._spec.dimension]
        if not self._spec.normalize:
            return np.ascontiguousarray(matrix)
        # Again in float32: a cut vector and one made in half precision do not have unit length.
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        return np.asarray(matrix / np.where(norms > 0, norms, 1), dtype=np.float32)
