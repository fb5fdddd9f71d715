"""The specs that follow from the settings and travel to the executors: model, inference and chunking rule."""

from schemas.context import HEADINGS
from schemas.errors import InputError
from spark_jobs.settings.loading import Settings
from udfs.models.source import describe_model
from udfs.specs import NEWEST_RULES, ChunkSpec, InferenceSpec, ModelSpec

# Chunk size for models that read texts of any length.
UNLIMITED_MAX_TOKENS = 512


def inference_spec(settings: Settings) -> InferenceSpec:
    """Describes the settings' model, for a run or for `embed_udf` in a notebook.

    Args:
        settings: The configuration; only its sections `model` and `inference` are used.

    Returns:
        The model, inspected but not loaded, and how it runs.

    Raises:
        InputError: The model cannot be used.
    """
    model, inference = settings.model, settings.inference
    spec = describe_model(
        model.path,
        revision=model.revision,
        document_prompt=model.document_prompt,
        query_prompt=model.query_prompt,
        dimensions=model.dimensions,
        normalize=model.normalize,
        precision=model.precision,
        cache=model.cache,
    )
    budget = None if inference.token_budget == "auto" else inference.token_budget
    return InferenceSpec(
        model=spec,
        device=inference.device,
        dtype=model.dtype,
        backend=inference.backend,
        cache=inference.cache,
        token_budget=budget,
    )


def chunk_spec(settings: Settings, model: ModelSpec) -> ChunkSpec:
    """Completes the chunking rule with the model's limit and, as for a new space, the newest rules.

    Args:
        settings: The configuration.
        model: Its model.

    Returns:
        The rule of a new space.

    Raises:
        InputError: The settings ask for chunks longer than the model can see.
    """
    chunking = settings.chunking
    limit = model.max_tokens or UNLIMITED_MAX_TOKENS
    if chunking.max_tokens and model.max_tokens and chunking.max_tokens > model.max_tokens:
        raise InputError(
            f"chunking.max_tokens is {chunking.max_tokens}, but the model sees {model.max_tokens} tokens. "
            f"Set it to {model.max_tokens} or less."
        )
    most = chunking.max_tokens or limit
    fewest = chunking.min_tokens or max(1, most // 4)
    if fewest > most // 2:
        raise InputError(f"chunking.min_tokens is {fewest}, more than half of max_tokens {most}. Set a smaller value.")
    rules = chunking.rules or NEWEST_RULES
    if HEADINGS in chunking.context and rules == 1:
        raise InputError(
            "chunking.context has headings, which chunking.rules 1 does not know. Leave them out, or name a new space "
            "with the setting `space`, which takes the newest rules."
        )
    context = tuple(chunking.context)
    return ChunkSpec(method=chunking.method, max_tokens=most, min_tokens=fewest, rules=rules, context=context)
