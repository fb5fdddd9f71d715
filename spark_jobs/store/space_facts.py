"""What is known about the spaces of a library: how each was made, what it holds, how its last run ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.evaluations import EVALUATIONS
from schemas.ledger import LEDGER
from schemas.spaces import ACTIVE, BUILDING, READY
from spark_jobs.settings.loading import Settings
from spark_jobs.store.registry import read_registry
from spark_jobs.store.runs import library_histories
from spark_jobs.store.tables import SpaceTables, space_tables, tables_of_row
from spark_jobs.store.versions import size_of
from udfs.specs import NEWEST_RULES

# The measure that stands for a space's quality; `evaluations` has the others.
_MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Quality:
    """The newest evaluation of a space.

    Attributes:
        measure: Name of the measure.
        value: Its mean over the queries.
        queries: Name of the file of queries.
        vectors_version: Version of `vectors` that was searched.
        evaluated_at: When.
    """

    measure: str
    value: float
    queries: str
    vectors_version: int
    evaluated_at: datetime


@dataclass(frozen=True)
class SpaceFacts:
    """One space of a library.

    Attributes:
        space: Its name.
        state: `active` if readers should use it, whatever a refresh does to it; `building` until a run has finished and
            while one is unfinished; else `ready`, or `retired` if it was active before.
        model: Name of its model.
        model_fingerprint: Hash of everything that decides a vector.
        dimension: Numbers of an embedding.
        precision: How they are stored.
        chunking: Its chunking rule.
        documents: Rows of its ledger.
        chunks: Rows of its `vectors`.
        bytes: Size of the files of `vectors` at its newest version.
        source_version: Version of the source that its last finished run read; None if the source has none.
        created_at: When it was registered.
        finished_at: When its last finished run ended; None if none has.
        quality: Its newest evaluation; None if there is none.
    """

    space: str
    state: str
    model: str
    model_fingerprint: str
    dimension: int
    precision: str
    chunking: dict[str, object]
    documents: int
    chunks: int
    bytes: int
    source_version: int | None
    created_at: datetime
    finished_at: datetime | None
    quality: Quality | None


def find_spaces(spark: SparkSession, settings: Settings) -> list[SpaceFacts]:
    """Finds out about all spaces of the settings' library, the oldest first; reads no row of vectors or ledgers.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: Names the library and its store.

    Returns:
        The spaces; none if no run has written to the store.

    Raises:
        InputError: The store has a newer format.
    """
    registry, tables = read_registry(spark, settings), space_tables(spark, settings)
    if registry.format is None:
        return []
    histories = library_histories(tables)
    qualities = _qualities(tables)
    found = []
    for row in registry.spaces:
        place = tables_of_row(spark, settings.store, row)
        found.append(_facts(row, place, histories.get(row.space), qualities.get((row.space, row.model_fingerprint))))
    return found


def _qualities(tables: SpaceTables) -> dict[tuple[str, str], Quality]:
    if not tables.exists(EVALUATIONS.name):
        return {}
    mine = (F.col("library") == tables.location.library) & (F.col("measure") == _MEASURE)
    kept = F.struct("measure", "value", "queries", "vectors_version", "evaluated_at")
    newest: DataFrame = (
        tables.read(EVALUATIONS.name)
        .where(mine & F.col("vectors_version").isNotNull())
        .groupBy("space", "model_fingerprint")
        .agg(F.max_by(kept, "evaluated_at").alias("kept"))
    )
    return {(row.space, row.model_fingerprint): Quality(**row.kept.asDict()) for row in newest.collect()}


def _facts(row: Row, tables: SpaceTables, history: Row | None, quality: Quality | None) -> SpaceFacts:
    model, finished = json.loads(row.model), history.finished if history is not None else None
    # A run that was stopped while it made its tables leaves a space without them.
    size = size_of(tables, "vectors") if tables.exists("vectors") else None
    return SpaceFacts(
        space=row.space,
        state=_state(row, history),
        model=model["path"],
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=model["precision"],
        chunking=json.loads(row.chunking),
        # Delta's log knows how many rows there are.
        documents=tables.read(LEDGER.name).count() if tables.exists(LEDGER.name) else 0,
        chunks=size.rows if size is not None else 0,
        bytes=size.bytes if size is not None else 0,
        source_version=finished.source_version if finished is not None else None,
        created_at=row.created_at,
        finished_at=finished.event_time if finished is not None else None,
        quality=quality,
    )


def _state(row: Row, history: Row | None) -> str:
    if history is None or history.finished is None:
        return BUILDING
    if row.active:
        return ACTIVE
    # Stores of earlier versions have no other state.
    return str(row.state or READY) if history.last.clean else BUILDING


def chunking_text(chunking: Mapping[str, object]) -> str:
    """Renders a chunking rule as the registry describes it."""
    if chunking["method"] == "none":
        return "none"
    rules = chunking.get("rules", 1)
    older = f", rules {rules}" if rules != NEWEST_RULES else ""
    return f"{chunking['method']}, {chunking['min_tokens']} to {chunking['max_tokens']} tokens{older}"
