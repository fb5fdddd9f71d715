"""From settings to the specs that travel to the executors: the model with its inference, and the chunking rule."""

from schemas.errors import InputError
from spark_jobs.settings.loading import Settings
from udfs.models.source import describe_model
from udfs.specs import ChunkSpec, InferenceSpec, ModelSpec

# Chunk size for models that read texts of any length.
UNLIMITED_MAX_TOKENS = 512


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
