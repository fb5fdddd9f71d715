"""Everything that can be refused before any inference, with all faults in one message."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pyspark.sql import SparkSession

from schemas.errors import InputError, SourceError
from spark_jobs.settings import Settings
from spark_jobs.side_thread import beside
from spark_jobs.sources import Source, check_ids, open_source
from spark_jobs.spaces import check_space, registered
from spark_jobs.store_checks import check_store
from udfs.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.model_source import describe_model
from udfs.specs import ChunkSpec, InferenceSpec, ModelSpec

# Chunk size for models that read texts of any length.
UNLIMITED_MAX_TOKENS = 512
Found = TypeVar("Found")


@dataclass(frozen=True)
class Checked:
    """What a run may rely on.

    Attributes:
        source: The pinned source.
        documents: Documents it has.
        inference: The model and how it runs.
        chunking: The chunking rule.
        model_fingerprint: Hash of everything that decides a vector.
        chunking_fingerprint: Hash of the chunking rule.
        registered: Whether the space is in the registry.
    """

    source: Source
    documents: int
    inference: InferenceSpec
    chunking: ChunkSpec
    model_fingerprint: str
    chunking_fingerprint: str
    registered: bool


def preflight(spark: SparkSession, settings: Settings) -> Checked:
    """Checks model, chunking, source, store and space; writes nothing.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Returns:
        What was found.

    Raises:
        InputError: Every fault found.
    """
    faults: list[InputError] = []
    space = beside(spark, lambda: registered(spark, settings))
    model = _collected(lambda: inference_spec(settings), faults)
    source = _collected(lambda: open_source(spark, settings.source), faults)
    _collected(lambda: check_store(settings), faults)
    chunking = _collected(lambda: chunk_spec(settings, model.model), faults) if model else None
    documents = _collected(lambda: check_ids(source, settings.source), faults) if source else None
    if faults or model is None or source is None or chunking is None or documents is None:
        # A source that no longer fits has an exit code of its own, unless there is more to mend.
        kind = SourceError if all(isinstance(fault, SourceError) for fault in faults) else InputError
        raise kind(sentence for fault in faults for sentence in fault.faults)
    is_registered = check_space(space(), settings.space, model.model, chunking)
    if not documents and not is_registered:
        raise InputError("the source has no documents: check source.path, source.table and source.filter")
    return Checked(
        source=source,
        documents=documents,
        inference=model,
        chunking=chunking,
        model_fingerprint=model_fingerprint(model.model),
        chunking_fingerprint=chunking_fingerprint(chunking, model.model),
        registered=is_registered,
    )


def inference_spec(settings: Settings) -> InferenceSpec:
    """Describes the settings' model, for a run or for `embed_udf` in a notebook.

    Args:
        settings: The whole configuration.

    Returns:
        The description.

    Raises:
        InputError: The model cannot be used.
    """
    wanted, inference = settings.model, settings.inference
    model = describe_model(
        wanted.path,
        revision=wanted.revision,
        document_prompt=wanted.document_prompt,
        query_prompt=wanted.query_prompt,
        dimensions=wanted.dimensions,
        normalize=wanted.normalize,
        precision=wanted.precision,
    )
    budget = None if inference.token_budget == "auto" else inference.token_budget
    return InferenceSpec(
        model=model, device=inference.device, dtype=wanted.dtype, backend=inference.backend, token_budget=budget
    )


def chunk_spec(settings: Settings, model: ModelSpec) -> ChunkSpec:
    """Completes the chunking rule from the model's limit.

    Args:
        settings: The whole configuration.
        model: The model.

    Returns:
        The rule.

    Raises:
        InputError: Chunks would be longer than the model can see.
    """
    wanted = settings.chunking
    limit = model.max_tokens or UNLIMITED_MAX_TOKENS
    if wanted.max_tokens and model.max_tokens and wanted.max_tokens > model.max_tokens:
        raise InputError(
            f"chunking.max_tokens is {wanted.max_tokens}, but the model sees {model.max_tokens} tokens: "
            f"ask for {model.max_tokens} or fewer"
        )
    most = wanted.max_tokens or limit
    fewest = wanted.min_tokens or max(1, most // 4)
    if fewest > most // 2:
        raise InputError(f"chunking.min_tokens is {fewest}, more than half of max_tokens {most}: ask for fewer")
    return ChunkSpec(method=wanted.method, max_tokens=most, min_tokens=fewest)


def _collected(check: Callable[[], Found], faults: list[InputError]) -> Found | None:
    try:
        return check()
    except InputError as error:
        faults.append(error)
        return None
