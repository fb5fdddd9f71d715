"""Frozen descriptions that travel from the driver to the executors in place of models.

All are hashable and small when pickled: a worker builds what they describe, once per process.
"""

from dataclasses import dataclass
from typing import Literal

from schemas.precision import OutputPrecision

Precision = Literal["float32", "bfloat16", "float16"]
Backend = Literal["torch", "openvino"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything that decides a vector, as the driver found it in the model folder.

    Attributes:
        path: Model folder, hub name (`owner/name`) or `fake:<dimension>`.
        revision: Commit of the hub repository; None for a folder.
        digest: SHA-256 (hex) over every file the loader may read; workers compare it before they load.
        dimension: Numbers kept of each vector.
        max_tokens: Longest input the model sees, special tokens and prompt included; None where it has no limit.
        document_prompt: Text put before each chunk.
        query_prompt: Text put before each query; not part of the fingerprint, for no stored vector depends on it.
        normalize: Whether vectors are scaled to unit length.
        precision: How numbers are stored.
    """

    path: str
    revision: str | None = None
    digest: str
    dimension: int
    max_tokens: int | None
    document_prompt: str = ""
    query_prompt: str = ""
    normalize: bool = True
    precision: OutputPrecision = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSpec:
    """How documents become chunks.

    Attributes:
        method: `structure` cuts at the text's own boundaries; `none` keeps one chunk per document.
        max_tokens: Most tokens of a chunk, special tokens and prompt included.
        min_tokens: Fewest tokens of a chunk while its document has more text and a boundary allows it.
    """

    method: Literal["structure", "none"]
    max_tokens: int
    min_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpec:
    """How a worker runs the model; nothing here may change a vector beyond rounding.

    Attributes:
        model: The model to load.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        dtype: Arithmetic of the forward pass; `auto` lets the worker look at its processor.
        backend: What runs the model.
        token_budget: Most tokens of one forward pass, padding included; None chooses by the kind of device.
        role: Which of the model's prompts is put before the texts.
        ranges: Lowest and highest value of each number, by which int8 is made; the space's, once it has them.
    """

    model: ModelSpec
    device: str = "auto"
    dtype: Literal["auto"] | Precision = "auto"
    backend: Backend = "torch"
    token_budget: int | None = None
    role: Literal["document", "query"] = "document"
    ranges: tuple[tuple[float, ...], tuple[float, ...]] | None = None
