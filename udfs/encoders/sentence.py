"""The encoder of real models, based on sentence-transformers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from udfs.encoders.conversion import EXAMPLES, Forward, openvino_forward
from udfs.encoders.hardware import cpu_dtype
from udfs.encoders.loading import load_model, own_weights, prepare
from udfs.encoders.model_inputs import BuildFeatures, read_and_build
from udfs.encoders.packed_linear import pack_linears
from udfs.encoders.protocol import BackendChoice
from udfs.encoders.tokens import TextTokenizer
from udfs.encoders.unpadded import unpad
from udfs.models.source import verified_folder
from udfs.specs import InferenceSpec, Precision, prompt_of

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The first GPUs that compute in bfloat16. Older ones emulate it, which is slower than float32.
_BFLOAT16_CAPABILITY = (8, 0)


def choose_device(device: str, partition: int = 0) -> str:
    """Chooses the torch device. Call this on the worker, because only the worker knows its hardware.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        partition: Number of the task's partition; `auto` uses it to spread tasks over the visible GPUs.

    Returns:
        A torch device name.
    """
    if device != "auto":
        return device
    count = torch.cuda.device_count()
    return f"cuda:{partition % count}" if count else "cpu"


def choose_dtype(dtype: str, device: str, stored: torch.dtype = torch.float32) -> Precision:
    """Chooses the floating-point type of the forward pass.

    Half precision is far slower than float32 on hardware without instructions for it, so `auto` checks for them.

    Args:
        dtype: `auto` or the name of a torch dtype.
        device: Torch device name.
        stored: The type of the stored weights; the model was trained in it.

    Returns:
        `float32`, `bfloat16` or `float16`.
    """
    if dtype != "auto" or not device.startswith("cuda"):
        return cpu_dtype(dtype)
    has_bfloat16 = torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY
    # A model trained in float32 may compute numbers outside the range of float16.
    return "bfloat16" if has_bfloat16 and stored != torch.float16 else "float16"


class SentenceEncoder:
    """A sentence-transformers model in this process.

    Args:
        spec: The model and how to run it.
        cores: Processor cores that inference may use.
        partition: Number of the task's partition.

    Raises:
        InputError: The folder differs from the one on the driver, or does not load.
    """

    def __init__(self, spec: InferenceSpec, cores: int, partition: int = 0) -> None:
        prepare(cores)
        # cuDNN plans its attention anew for each shape of a pass, and almost every pass has a shape of its own.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.device = choose_device(spec.device, partition)
        self._spec = spec
        # What `auto` means has been decided before this is made.
        uses_torch = spec.backend != "openvino" or self.device != "cpu"
        with verified_folder(spec.model) as folder:
            self._model = load_model(spec.model, folder, self.device)
            self.dtype = choose_dtype(spec.dtype, self.device, next(self._model.parameters()).dtype)
            # OpenVINO converts from float32, whatever floating-point type it uses afterwards.
            own_weights(self._model, _DTYPES[self.dtype if uses_torch else "float32"])
        # With an index: `cuda` would be another GPU in a thread with another current one.
        self._place = self._model.device
        self.is_padded = not isinstance(self._model[0], StaticEmbedding)
        self.is_on_trial = False
        self.choice = BackendChoice(backend="torch" if uses_torch or not self.is_padded else "openvino")
        self.tokenize, self._features = read_and_build(self._model, spec.model, prompt_of(spec))
        self._flat: BuildFeatures | None = None
        self._run: Forward = partial(_by_torch, self._model)
        if self.is_padded:
            self._speed_up(uses_torch, cores)
        self._exact: SentenceEncoder | None = None

    def _speed_up(self, uses_torch: bool, cores: int) -> None:
        examples = [self.tokenize(texts).items for texts in EXAMPLES]
        if not uses_torch:
            batches = [self._features(items) for items in examples]
            self._run = openvino_forward(self._model, batches, self.dtype, cores)
        elif self.device == "cpu":
            if self.dtype == "float32":
                pack_linears(self._model)
        # The kernel for texts of several lengths in one row supports only GPUs and half precision.
        elif self.dtype != "float32" and isinstance(self.tokenize, TextTokenizer):
            with on_device(self._place):
                self._flat = unpad(self._model, examples, self._features)
            if self._flat is not None:
                self._features, self.is_padded = self._flat, False

    @torch.inference_mode()
    def forward(self, items: Sequence[Any]) -> Callable[[], NDArray[np.float32]]:
        """Starts one forward pass of at least one of `tokenize`'s items.

        Call the result to wait for the rows: (n, dimension) float32, with unit length if the spec says `normalize`.
        """
        with on_device(self._place):
            features = {name: self._moved(value) for name, value in self._features(items).items()}
            rows = self._run(features).to(torch.float32)[:, : self._spec.model.dimension]
            if self._spec.model.normalize:
                # Again, in float32: vectors that were cut or computed in half precision do not have unit length.
                rows = torch.nn.functional.normalize(rows, dim=1)
            return fetched(rows)

    def exact(self, item: Any) -> NDArray[np.float32]:
        """Embeds one of `tokenize`'s items alone in float32; returns (1, dimension).

        If the model runs in half precision, a second copy of it does this on the CPU.
        """
        if self.dtype == "float32":
            return self.forward([item])()
        if self._exact is None:
            threads = torch.get_num_threads()
            self._exact = SentenceEncoder(replace(self._spec, device="cpu", dtype="float32"), threads)
        return self._exact.forward([item])()

    def twin(self, spec: InferenceSpec) -> Self | None:
        """Makes an encoder for another prompt or fewer dimensions from the weights that this one holds.

        Returns None if the model has to be loaded again, because the fast path was built for this prompt alone.
        """
        # A pooling that leaves out the prompt needs its length, which traced and unpadded passes have as a constant.
        if not all(getattr(module, "include_prompt", True) for module in self._model):
            return None
        tokenize, features = read_and_build(self._model, spec.model, prompt_of(spec))
        if isinstance(tokenize, TextTokenizer) is not isinstance(self.tokenize, TextTokenizer):
            return None
        other = copy(self)
        other.tokenize, other._features, other._spec, other._exact = tokenize, self._flat or features, spec, None
        return other

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or self._place.type == "cpu":
            return value
        # With pinned memory, the copy runs during the previous pass.
        return value.pin_memory().to(self._place, non_blocking=True)


def _by_torch(model: SentenceTransformer, features: dict[str, Any]) -> torch.Tensor:
    rows: torch.Tensor = model(features)["sentence_embedding"]
    return rows


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Makes a GPU the current one of this thread for a block. Every thread begins with the first GPU as its own."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def fetched(rows: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
    """Starts to copy rows to the processor's memory; call the result to wait for them."""
    if rows.device.type == "cpu":
        matrix: NDArray[np.float32] = rows.contiguous().numpy()
        return lambda: matrix
    copied = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    copied.copy_(rows, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    # The copy is in the queue of the rows' device; without an argument, the event would join the current device's.
    done.record(torch.cuda.current_stream(rows.device))
    return lambda: _waited(done, copied)


def _waited(done: torch.cuda.Event, copied: torch.Tensor) -> NDArray[np.float32]:
    done.synchronize()
    rows: NDArray[np.float32] = copied.numpy()
    return rows
