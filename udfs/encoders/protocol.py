"""The interface between models and inference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from udfs.encoders.tokens import Tokenized
from udfs.specs import InferenceSpec, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """Which library runs a model, and what is known about the others.

    Attributes:
        backend: `torch`, `openvino`, or `fake` for the stand-in without weights.
        torch_rate: Tokens per second of torch, the median of its trial's passes; None if it was not tried.
        openvino_rate: Likewise of OpenVINO.
        note: Why a backend was not tried, or what happened to the cache, in words; None if there is nothing to say.
    """

    backend: str
    torch_rate: float | None = None
    openvino_rate: float | None = None
    note: str | None = None


class Encoder(Protocol):
    """A model that turns texts into vectors.

    Two threads share an encoder: one calls `tokenize`, the other `forward`.

    Attributes:
        device: The torch device that it runs on.
        dtype: Floating-point type of its forward pass.
        is_padded: Whether a forward pass costs rows times the longest text, instead of the sum of all tokens.
        choice: Which library runs the model.
    """

    device: str
    dtype: Precision
    is_padded: bool
    choice: BackendChoice

    @property
    def is_on_trial(self) -> bool:
        """Whether the next pass belongs to a trial of backends, so that its rate says nothing about its size."""

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Converts texts to the input of a forward pass, and counts their tokens before truncation."""

    def forward(self, items: Sequence[Any]) -> Callable[[], NDArray[np.float32]]:
        """Starts one forward pass. Call the result to wait for the rows: (n, dimension) float32, row i for item i."""

    def exact(self, item: Any) -> NDArray[np.float32]:
        """Embeds one text alone in float32; returns (1, dimension)."""

    def twin(self, spec: InferenceSpec) -> "Encoder | None":
        """Makes an encoder for another spec of the same model from the weights that this one holds.

        Returns None if the model has to be loaded again.
        """
