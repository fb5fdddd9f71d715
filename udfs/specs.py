"""Frozen descriptions of a model, a chunking rule and inference, sent from the driver to executors.

All are hashable and small when pickled. A worker builds what they describe once per process.
"""

from dataclasses import dataclass
from typing import Literal

from schemas.precision import OutputPrecision

Precision = Literal["float32", "bfloat16", "float16"]
Backend = Literal["auto", "torch", "openvino"]
# The newest rules by which documents are cut. Rules that have made a space never change: others get the next number.
NEWEST_RULES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything about a model that affects a vector, as the driver read it from the model folder.

    `describe_model` creates it. Workers refuse a folder with a different digest.

    Attributes:
        path: Model folder, hub name (`owner/name`), version in MLflow's registry (`models:/name/7`) or
            `fake:<dimension>`.
        revision: Commit in the hub repository; None for everything else.
        digest: SHA-256 (hex) over every file that the loader may read; workers compare it before they load the model.
        dimension: Length of an embedding; less than the model's own if `model.dimensions` shortens it.
        max_tokens: Longest input the model sees, including special tokens and prompt; None if it has no limit.
        document_prompt: Text put before each chunk; empty for none.
        query_prompt: Text put before each query. Not part of the fingerprint because no stored vector depends on it.
        normalize: Whether vectors are scaled to unit length.
        precision: The storage format of embeddings.
        folder: Where machines keep the files of a version in MLflow's registry; None for everything else.
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
    folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSpec:
    """How documents become chunks.

    Attributes:
        method: `structure` cuts at the text's own boundaries; `none` keeps one chunk per document.
        max_tokens: Maximum number of tokens in a chunk, including special tokens and document prompt.
        min_tokens: Minimum number of tokens in a chunk, if its document has more text and a boundary allows it.
        rules: Which boundaries `structure` knows: 1 are headings, paragraphs, lines and sentences; 2 also tables, code,
            nested lists, and the sentences and words of scripts that Latin's marks do not fit.
        context: What the model sees before each chunk, in order: names of columns, and `schemas.context.HEADINGS`
            for the path of headings above it. Empty for nothing.
    """

    method: Literal["structure", "none"]
    max_tokens: int
    min_tokens: int
    rules: int = NEWEST_RULES
    context: tuple[str, ...] = ()

    @property
    def knows_headings(self) -> bool:
        """Whether chunks know the headings that they stand under."""
        return self.method == "structure" and self.rules > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpec:
    """A model and how workers run it. Apart from rounding, only the model, `role` and `ranges` affect a vector.

    Attributes:
        model: The model to load.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`; `auto` uses a GPU if the worker has one.
        dtype: Floating-point type of the forward pass; `auto` lets the worker choose according to its hardware.
        backend: The library that runs the model; `openvino` applies to CPUs only, and `auto` lets the worker try both
            there.
        cache: Folder on the worker for converted models; `off` for none, None for one of the worker's user.
        token_budget: Maximum number of tokens in one forward pass, including padding; None lets the worker choose.
        role: Whether the texts get the document prompt or the query prompt.
        ranges: The minimum and maximum of each number in the space, for precision int8; None before they are measured.
    """

    model: ModelSpec
    device: str = "auto"
    dtype: Literal["auto"] | Precision = "auto"
    backend: Backend = "auto"
    cache: str | None = None
    token_budget: int | None = None
    role: Literal["document", "query"] = "document"
    ranges: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def prompt_of(spec: InferenceSpec) -> str:
    """Returns the text that is put before each text of the spec's role; empty for none."""
    return spec.model.document_prompt if spec.role == "document" else spec.model.query_prompt
