"""The registry of spaces: which model and chunking rule created the vectors of each, and which space readers use."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.format import refuse_newer
from schemas.spaces import READY, SPACES
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.runtime.threads import together
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import StoreSettings
from spark_jobs.store.format import format_of
from spark_jobs.store.locks import store_lock
from spark_jobs.store.tables import SpaceTables, is_absent, space_tables
from udfs.models.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.quantization import Ranges
from udfs.specs import ChunkSpec, ModelSpec

_OTHER_CASE = (
    "{0} {1} would share its tables with {0} {2}, because the store's names ignore case. Write {2} if it is the same, "
    "or choose another name."
)
# Spark's conditions for a catalog that has tables but no views.
_NO_VIEWS = ("MISSING_CATALOG_ABILITY", "UNSUPPORTED_FEATURE.CATALOG_OPERATION")


@dataclass(frozen=True)
class Registry:
    """The registry of a store, as far as it concerns one space.

    Attributes:
        format: The store's format; None if the store has no registry yet.
        spaces: Rows of the library's spaces, the oldest first.
        row: The row of the settings' space; None if no run has opened it yet.
    """

    format: int | None
    spaces: Sequence[Row]
    row: Row | None


def read_registry(spark: SparkSession, settings: Settings) -> Registry:
    """Reads what the registry says of the settings' library; refuses a store of a newer format."""
    tables = space_tables(spark, settings)
    if not tables.exists(SPACES.name):
        return Registry(None, (), None)
    found = check_format(tables)
    rows = spaces_of_library(spark, settings)
    return Registry(found, rows, next((row for row in rows if row.space == settings.space), None))


def registered(spark: SparkSession, settings: Settings) -> Row | None:
    """Looks up the row of the settings' space; None if no run has opened it yet. Refuses a store of a newer format."""
    return read_registry(spark, settings).row


def check_format(tables: SpaceTables) -> int:
    """Refuses a store that a later version of embedlake has written to; returns its format. `spaces` must exist."""
    found = format_of(tables.spark, tables.name(SPACES.name))
    store = tables.location.store
    refuse_newer(found, store.path or f"{store.catalog}.{store.schema_}")
    return found


def spaces_of_library(spark: SparkSession, settings: Settings) -> list[Row]:
    """Reads the rows of the library's spaces, the oldest first; the table must exist.

    Args:
        spark: The live session.
        settings: Names the space and its store.

    Returns:
        The rows.

    Raises:
        InputError: The tables of the settings' space belong to a library or space whose name differs only by case.
    """
    alike = F.lower("library") == settings.library.lower()
    rows = space_tables(spark, settings).read(SPACES.name).where(alike).collect()
    rows.sort(key=lambda row: row.created_at)
    refuse_other_case(rows, settings)
    return [row for row in rows if row.library == settings.library]


def refuse_other_case(rows: list[Row], settings: Settings) -> None:
    """Refuses names that differ only by case from those that own their tables: the names that were registered first.

    Args:
        rows: Rows of the registry with the library's name in any case, the oldest first.
        settings: Names the space and its store.

    Raises:
        InputError: The tables of the settings' space belong to another library or space.
    """
    library, space = settings.library, settings.space
    owner = rows[0].library if rows else library
    if owner != library and _is_same_place(settings.store, (owner,), (library,)):
        raise InputError(_OTHER_CASE.format("library", library, owner))
    spaces = (row.space for row in rows if row.library == library and row.space.lower() == space.lower())
    owner = next(spaces, space)
    if owner != space and _is_same_place(settings.store, (library, owner), (library, space)):
        raise InputError(_OTHER_CASE.format("space", space, owner))


def _is_same_place(store: StoreSettings, owner: tuple[str, ...], name: tuple[str, ...]) -> bool:
    if store.folder is None:
        # Catalogs ignore case, object stores do not.
        return store.path is None
    try:
        return os.path.samefile(store.folder.joinpath(*owner), store.folder.joinpath(*name))
    except OSError:
        return False


def require_space(spark: SparkSession, settings: Settings) -> Row:
    """Looks up the row of the settings' space; refuses one that does not exist, and a store of a newer format."""
    tables, rows = space_tables(spark, settings), list[Row]()
    try:
        # The format's refusal comes first: what stands in tables of a later version may not be readable.
        together(spark, [lambda: check_format(tables), lambda: rows.extend(spaces_of_library(spark, settings))])
    except AnalysisException as error:
        if not is_absent(error):
            raise
    row = next((row for row in rows if row.space == settings.space), None)
    if row is None:
        raise unknown_space(spark, settings)
    return row


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
    *,
    is_first: bool,
) -> None:
    """Adds a space to the registry; the first one of a library becomes its active one, and gets its view.

    Args:
        spark: The live session.
        settings: Names the space.
        model: Its model.
        chunking: Its chunking rule.
        ranges: Lowest and highest value of each number, if precision is int8.
        is_first: Whether the library has no other space.

    Raises:
        InputError: The catalog refuses the view.
    """
    tables = space_tables(spark, settings)
    if is_first:
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
        is_first,
        datetime.now().astimezone(),
    )
    with store_lock(settings):
        tables.append(spark.createDataFrame([row], SPACES.schema), SPACES)


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


def unknown_space(spark: SparkSession, settings: Settings) -> InputError:
    """Makes the fault that says that the settings' space does not exist, or has no vectors yet."""
    tables = space_tables(spark, settings)
    known = []
    if tables.exists(SPACES.name):
        rows = tables.read(SPACES.name).where(F.col("library") == settings.library)
        known = sorted({row.space for row in rows.select("space").distinct().collect()})
    others = f"it has {', '.join(known)}" if known else "no run has written to it yet"
    return InputError(
        f"library {settings.library} has no space {settings.space} ({others}). Run embedlake embed, or name another."
    )
