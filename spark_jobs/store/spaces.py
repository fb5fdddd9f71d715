"""The registry of spaces: which model and chunking rule made the vectors of each."""

import json
from dataclasses import asdict
from datetime import datetime

from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.spaces import READY, SPACES
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import store_lock
from spark_jobs.store.tables import SpaceTables, space_tables
from udfs.models.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.quantization import Ranges
from udfs.specs import ChunkSpec, ModelSpec

# What Spark says of a catalog that has tables and no views.
_NO_VIEWS = ("MISSING_CATALOG_ABILITY", "UNSUPPORTED_FEATURE.CATALOG_OPERATION")


def registered(spark: SparkSession, settings: Settings) -> Row | None:
    """Looks a space up.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Returns:
        Its row, or None where no run has opened it yet.
    """
    tables = space_tables(spark, settings)
    if not tables.exists(SPACES.name):
        return None
    here = (F.col("library") == settings.library) & (F.col("space") == settings.space)
    rows: list[Row] = tables.read(SPACES.name).where(here).orderBy("created_at").limit(1).collect()
    return rows[0] if rows else None


def require_space(spark: SparkSession, settings: Settings) -> Row:
    """Looks up a space that must be there.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Returns:
        Its row of the registry.

    Raises:
        InputError: There is no such space, or it has no vectors yet.
    """
    row = registered(spark, settings)
    if row is None or not space_tables(spark, settings).exists("vectors"):
        raise InputError(_unknown(spark, settings))
    return row


def check_space(row: Row | None, name: str, model: ModelSpec, chunking: ChunkSpec) -> bool:
    """Refuses to mix vectors of two models or chunking rules in one space.

    Args:
        row: The space's row of the registry; None where it has none.
        name: The space.
        model: The model.
        chunking: The chunking rule.

    Returns:
        Whether the space is in the registry.

    Raises:
        InputError: The space was made otherwise; the differences are named.
    """
    if row is None:
        return False
    way_out = "go back to it, or name a new space by the setting `space`"
    faults = []
    if row.model_fingerprint != model_fingerprint(model):
        faults.append(f"space {name} holds vectors of another model ({_difference(row.model, model)}): {way_out}")
    if row.chunking_fingerprint != chunking_fingerprint(chunking, model):
        faults.append(
            f"space {name} was cut by another chunking rule ({_difference(row.chunking, chunking)}): {way_out}"
        )
    if faults:
        raise InputError(faults)
    return True


def ranges_of(row: Row) -> Ranges | None:
    """Reads the ranges by which a space's numbers are stored.

    Args:
        row: The space's row of the registry.

    Returns:
        Lowest and highest value of each number; None where the space needs none.
    """
    if row.ranges is None:
        return None
    low, high = json.loads(row.ranges)
    return tuple(low), tuple(high)


def register(
    spark: SparkSession, settings: Settings, model: ModelSpec, chunking: ChunkSpec, ranges: Ranges | None = None
) -> None:
    """Enters a space into the registry; where it is the library's active one, its view is made first.

    Args:
        spark: The live session.
        settings: The whole configuration.
        model: The model.
        chunking: The chunking rule.
        ranges: Lowest and highest value of each number, where precision is int8.

    Raises:
        InputError: The catalog refuses the view.
    """
    tables = space_tables(spark, settings)
    others = tables.read(SPACES.name).where(F.col("library") == settings.library)
    # The first space of a library is the one that readers should use.
    is_active = others.isEmpty()
    if is_active:
        make_view(tables)
    row = (
        settings.library,
        settings.space,
        model_fingerprint(model),
        chunking_fingerprint(chunking, model),
        json.dumps(asdict(model), sort_keys=True),
        json.dumps(asdict(chunking), sort_keys=True),
        model.dimension,
        json.dumps(ranges) if ranges is not None else None,
        READY,
        is_active,
        datetime.now().astimezone(),
    )
    with store_lock(settings):
        tables.append(spark.createDataFrame([row], SPACES.schema), SPACES.name)


def _difference(stored: str, spec: ModelSpec | ChunkSpec) -> str:
    before, now = json.loads(stored), asdict(spec)
    return (
        ", ".join(
            f"{key} was {_short(before.get(key))}, is {_short(now[key])}"
            for key in now
            if before.get(key) != now[key] and key not in ("path", "revision", "query_prompt")
        )
        or "its tokenizer differs"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


def _unknown(spark: SparkSession, settings: Settings) -> str:
    tables = space_tables(spark, settings)
    known = []
    if tables.exists(SPACES.name):
        rows = tables.read(SPACES.name).where(F.col("library") == settings.library)
        # The registry has a row for each space that somebody made by hand.
        known = sorted({row.space for row in rows.select("space").distinct().collect()})
    of_them = f"it has {', '.join(known)}" if known else "no run has written to it yet"
    return f"library {settings.library} has no space {settings.space} ({of_them}): run embedlake embed, or name another"


def make_view(tables: SpaceTables) -> None:
    """Makes the view `<library>__vectors` select from a space's vectors; a store with a path has none.

    A catalog that knows no views is passed over: the table itself is there under its own name.

    Args:
        tables: The space's tables.

    Raises:
        InputError: The catalog refuses the view, for want of a right or because a table has its name.
    """
    view = tables.location.view
    if view is None:
        return
    comment = "Vectors of the library, from the space that readers should use"
    try:
        tables.spark.sql(f"CREATE OR REPLACE VIEW {view} COMMENT '{comment}' AS SELECT * FROM {tables.name('vectors')}")
    except Exception as error:  # what goes wrong in a catalog comes as Py4J's error or PySpark's
        if isinstance(error, PySparkException) and (error.getCondition() or "").startswith(_NO_VIEWS):
            return
        raise InputError(
            f"the view {view} cannot be made: {cause_of(error)}: check that the job may make views there and "
            "that nothing else has this name"
        ) from error
