"""Spaces as jobs meet them: looked up, compared with the settings, added to the registry, and shown by a view."""

import json
from dataclasses import asdict, fields, replace
from datetime import datetime

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError
from schemas.spaces import ACTIVE, DROPPED, READY, REGISTERED
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.runtime.threads import together
from spark_jobs.settings.loading import Settings
from spark_jobs.store.registry import Registry, change_registry, check_format, newest_of_library, read_registry
from spark_jobs.store.tables import SpaceTables, is_absent, space_tables
from udfs.models.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.models.registered import is_registered
from udfs.quantization import Ranges
from udfs.specs import ChunkSpec, ModelSpec

# Spark's conditions for a catalog that has tables but no views.
_NO_VIEWS = ("MISSING_CATALOG_ABILITY", "UNSUPPORTED_FEATURE.CATALOG_OPERATION")


def registered(spark: SparkSession, settings: Settings) -> Row | None:
    """Looks up the row of the settings' space; None if no run has opened it yet. Refuses a store of a newer format."""
    return read_registry(spark, settings).row


def require_space(spark: SparkSession, settings: Settings, space: str | None = None) -> Row:
    """Looks up the row of the library's active space, or of a named one.

    Args:
        spark: The live session.
        settings: Names the library and its store.
        space: A space of the library; None for the active one.

    Returns:
        Its row in the registry.

    Raises:
        InputError: There is no such space, or the store has a newer format.
    """
    tables, rows = space_tables(spark, settings), list[Row]()
    try:
        # The format's refusal comes first: what stands in tables of a later version may not be readable.
        together(spark, [lambda: check_format(tables), lambda: rows.extend(newest_of_library(spark, settings))])
    except AnalysisException as error:
        if not is_absent(error):
            raise
    registry = Registry(None, rows, settings.space)
    row = registry.active if space is None else registry.find(space)
    if row is None:
        raise unknown_space(registry, settings.library, space or settings.space)
    return row


def as_made(row: Row | None, settings: Settings, chunking: ChunkSpec) -> ChunkSpec:
    """Chooses the rules that a space was made by, where the settings name none: an update never cuts it anew.

    Args:
        row: The space's row in the registry; None if it has none.
        settings: The configuration.
        chunking: The chunking rule of a new space with these settings.

    Returns:
        The chunking rule of the space.
    """
    if row is None or settings.chunking.rules is not None:
        return chunking
    return replace(chunking, rules=rules_of(row))


def rules_of(row: Row) -> int:
    """Reads from a row of the registry by which rules a space was made; spaces of versions that knew one have none."""
    return int(json.loads(row.chunking).get("rules", 1))


def has_context(row: Row) -> bool:
    """Reads from a row of the registry whether the chunks of a space have a context."""
    return bool(json.loads(row.chunking).get("context"))


def check_space(row: Row | None, name: str, model: ModelSpec, chunking: ChunkSpec) -> None:
    """Refuses to mix vectors of two models or chunking rules in one space.

    Args:
        row: The space's row in the registry; None if it has none.
        name: The space.
        model: The configured model.
        chunking: The configured chunking rule.

    Raises:
        InputError: The space has another model or chunking rule; the message names the differences.
    """
    if row is None:
        return
    remedy = "Go back to it, or name a new space with the setting `space`."
    faults = []
    if row.model_fingerprint != model_fingerprint(model):
        faults.append(f"space {name} holds vectors of another model ({_difference(row.model, model)}). {remedy}")
    if row.chunking_fingerprint != chunking_fingerprint(chunking, model):
        faults.append(f"space {name} was chunked by another rule ({_difference(row.chunking, chunking)}). {remedy}")
    if faults:
        raise InputError(faults)


def model_of(row: Row) -> ModelSpec:
    """Reads the description of a space's model from a row of the registry; does not look for the model."""
    known = {field.name for field in fields(ModelSpec)}
    return ModelSpec(**{name: value for name, value in json.loads(row.model).items() if name in known})


def ranges_of(row: Row) -> Ranges | None:
    """Reads the lowest and highest value of each number from a row of the registry; None if precision needs none."""
    if row.ranges is None:
        return None
    low, high = json.loads(row.ranges)
    return tuple(low), tuple(high)


def register(
    spark: SparkSession,
    settings: Settings,
    model: ModelSpec,
    chunking: ChunkSpec,
    ranges: Ranges | None = None,
) -> Row | None:
    """Adds a space to the registry; the first one of a library becomes its active one, and gets its view.

    Args:
        spark: The live session.
        settings: Names the space.
        model: Its model.
        chunking: Its chunking rule.
        ranges: Lowest and highest value of each number, if precision is int8.

    Returns:
        The space's row if another process has registered it meanwhile, else None.

    Raises:
        InputError: The catalog refuses the view, or another process registered the space with another model or
            chunking rule.
        RunActiveError: Another process changed the library's spaces at the same moment.
    """

    def decide(registry: Registry) -> list[dict[str, object]]:
        if registry.row is not None:
            check_space(registry.row, settings.space, model, chunking)
            return []
        is_first = registry.active is None
        if is_first:
            make_view(space_tables(spark, settings))
        return [
            {
                "space": settings.space,
                "model_fingerprint": model_fingerprint(model),
                "chunking_fingerprint": chunking_fingerprint(chunking, model),
                "model": json.dumps(asdict(model), sort_keys=True),
                "chunking": json.dumps(asdict(chunking), sort_keys=True),
                "dimension": model.dimension,
                "ranges": json.dumps(ranges) if ranges is not None else None,
                "state": ACTIVE if is_first else READY,
                "active": is_first,
                "created_at": datetime.now().astimezone(),
                "change": REGISTERED,
            }
        ]

    return change_registry(spark, settings, decide).row


def make_view(tables: SpaceTables) -> None:
    """Makes the view `<library>__vectors` select from a space's vectors; a store with a path has no view.

    A catalog that does not support views is left without one: readers use the table under its own name.
    """
    view = tables.location.view
    if view is None:
        return
    comment = "Vectors of the library, from the space that readers should use"
    try:
        tables.spark.sql(f"CREATE OR REPLACE VIEW {view} COMMENT '{comment}' AS SELECT * FROM {tables.name('vectors')}")
    except Exception as error:  # a catalog's errors come from Py4J or PySpark
        if isinstance(error, PySparkException) and (error.getCondition() or "").startswith(_NO_VIEWS):
            return
        raise InputError(
            f"the view {view} cannot be created: {cause_of(error).rstrip('.')}. Check that the job may create views "
            "there and that nothing else has this name."
        ) from error


def _difference(stored: str, spec: ModelSpec | ChunkSpec) -> str:
    # What the registry has of a space is JSON, which has no tuples; what a version did not know was as it is here.
    before, now = {"rules": 1, "context": [], **json.loads(stored)}, json.loads(json.dumps(asdict(spec)))
    if is_registered(str(now.get("path"))) and before["path"] != now["path"]:
        # The version says what the digests only hint at: an alias has moved.
        return f"it was made by {before['path']}, and the settings' model is {now['path']}"
    return (
        ", ".join(
            f"{key} was {_short(before.get(key))}, is {_short(now[key])}"
            for key in now
            if before.get(key) != now[key] and key not in ("path", "revision", "query_prompt", "folder")
        )
        or "its tokenizer differs"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


def unknown_space(registry: Registry, library: str, space: str) -> InputError:
    """Makes the fault that says that a space does not exist, or has no vectors yet."""
    known = sorted(row.space for row in registry.spaces)
    others = f"it has {', '.join(known)}" if known else "no run has written to it yet"
    gone = any(row.space == space and row.state == DROPPED for row in registry.newest)
    what = f"space {space} of library {library} was dropped" if gone else f"library {library} has no space {space}"
    return InputError(f"{what} ({others}). Run embedlake embed, or name another.")
