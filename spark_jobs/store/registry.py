"""The registry of spaces: what its newest rows say of a library, and the one way to change it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError, RunActiveError
from schemas.format import FORMAT, refuse_newer
from schemas.spaces import DROPPED, REFUSED, REGISTERED, SPACES
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import StoreSettings
from spark_jobs.store.fence import new_owner, transaction
from spark_jobs.store.format import format_of
from spark_jobs.store.locks import store_lock
from spark_jobs.store.tables import SpaceTables, space_tables

_OTHER_CASE = (
    "{0} {1} would share its tables with {0} {2}, because the store's names ignore case. Write {2} if it is the same, "
    "or choose another name."
)
# Every change is a file of its own. So few are read in no time.
_CHANGES_A_FILE = 50


@dataclass(frozen=True)
class Registry:
    """The registry of a store, as far as it concerns one library.

    Attributes:
        format: The store's format; None if the store has no registry yet.
        newest: The newest row of each of the library's spaces, those of dropped ones too, the oldest space first.
        name: The settings' space.
    """

    format: int | None
    newest: Sequence[Row]
    name: str

    @property
    def spaces(self) -> list[Row]:
        """Rows of the spaces that are not dropped."""
        return [row for row in self.newest if row.state != DROPPED]

    @property
    def row(self) -> Row | None:
        """The row of the settings' space; None if no run has opened it yet, or if it was dropped."""
        return self.find(self.name)

    @property
    def active(self) -> Row | None:
        """The row of the space that readers should use; None in a library without a space."""
        return next((row for row in self.spaces if row.active), None)

    @property
    def was_dropped(self) -> bool:
        """Whether the settings' space was dropped, and not registered anew since."""
        return any(row.space == self.name and row.state == DROPPED for row in self.newest)

    @property
    def number(self) -> int:
        """Number of the library's last change; 0 if it has none."""
        return max((row.last_number for row in self.newest), default=0)

    def find(self, space: str) -> Row | None:
        """Returns the row of a space; None if it does not exist."""
        return next((row for row in self.spaces if row.space == space), None)


def read_registry(spark: SparkSession, settings: Settings) -> Registry:
    """Reads what the registry says of the settings' library.

    Args:
        spark: The live session.
        settings: Names the space and its store.

    Returns:
        The registry.

    Raises:
        InputError: The store has a newer format, or the tables of the settings' space belong to a library or space
            whose name differs only by case.
    """
    tables = space_tables(spark, settings)
    if not tables.exists(SPACES.name):
        return Registry(None, (), settings.space)
    return Registry(check_format(tables), newest_of_library(spark, settings), settings.space)


def check_format(tables: SpaceTables) -> int:
    """Refuses a store that a later version of embedlake has written to; returns its format. `spaces` must exist."""
    found = format_of(tables.spark, tables.name(SPACES.name))
    store = tables.location.store
    refuse_newer(found, store.path or f"{store.catalog}.{store.schema_}")
    return found


def newest_rows_of(changes: DataFrame) -> DataFrame:
    """Keeps the newest row of each space.

    Args:
        changes: Rows of `spaces`.

    Returns:
        One row for each library and space, dropped ones included, without `figures`; and `last_number`, which counts
        refusals too.
    """
    number = F.coalesce("number", F.lit(0))
    # A refusal changes nothing.
    is_change = F.coalesce("change", F.lit(REGISTERED)) != REFUSED
    # With a nested column, the vectorized reader stays off, and a million rows take 6.4 s instead of 1.3.
    kept = [name for name in changes.columns if name != "figures"]
    row = F.max_by(F.struct(*kept), F.when(is_change, number))
    # One task: nothing has to be shuffled for so few rows.
    newest = changes.coalesce(1).groupBy("library", "space").agg(row.alias("row"), F.max(number).alias("last_number"))
    return newest.select("row.*", "last_number")


def newest_of_library(spark: SparkSession, settings: Settings) -> list[Row]:
    """Reads the newest row of each of the library's spaces, the oldest space first; the table must exist.

    Args:
        spark: The live session.
        settings: Names the space and its store.

    Returns:
        The rows, those of dropped spaces too.

    Raises:
        InputError: The tables of the settings' space belong to a library or space whose name differs only by case.
    """
    alike = F.lower("library") == settings.library.lower()
    rows = newest_rows_of(space_tables(spark, settings).read(SPACES.name).where(alike)).collect()
    rows.sort(key=lambda row: row.created_at)
    refuse_other_case(rows, settings)
    return [row for row in rows if row.library == settings.library]


def change_registry(
    spark: SparkSession, settings: Settings, decide: Callable[[Registry], Sequence[Mapping[str, Any]]]
) -> Registry:
    """Changes the registry in one commit. Of two changes of a library at the same time one is refused.

    Args:
        spark: The live session.
        settings: Names the library and its store.
        decide: Returns the new rows: all columns but those that this function adds (library, number, changed_at,
            changed_by). It sees the registry as it is when nobody else on this machine can change it; it may raise, and
            nothing is written if it returns no rows.

    Returns:
        The registry as `decide` saw it.

    Raises:
        RunActiveError: Another process changed the library's spaces at the same moment.
    """
    tables = space_tables(spark, settings)
    with store_lock(settings):
        registry = read_registry(spark, settings)
        rows = decide(registry)
        if not rows:
            return registry
        if registry.format is not None and registry.format < FORMAT:
            tables.complete(SPACES)
        common = {
            "library": settings.library,
            "number": registry.number + 1,
            "changed_at": datetime.now().astimezone(),
            "changed_by": new_owner(),
        }
        _commit(tables, [{**row, **common} for row in rows], common)
    return registry


def _commit(tables: SpaceTables, rows: Sequence[Mapping[str, Any]], common: Mapping[str, Any]) -> None:
    spark, number, app_id = tables.spark, common["number"], f"{common['library']}.spaces"
    values = [tuple(row.get(name) for name in SPACES.schema.names) for row in rows]
    # If two take the same number, Delta commits one; the other fails, or its commit is skipped without an error.
    with transaction(spark, app_id, number, f"{app_id}.{number}"):
        try:
            tables.append(spark.createDataFrame(values, SPACES.schema), SPACES)
        except Exception as error:
            if "CONCURRENT_TRANSACTION" in cause_of(error).upper():
                raise changed_meanwhile(common["library"], "at the same moment") from error
            raise
    # A local store is locked.
    if not tables.location.store.is_local:
        mine = (F.col("library") == common["library"]) & (F.col("number") == number)
        owners = tables.read(SPACES.name).where(mine).select("changed_by").distinct().collect()
        if [row.changed_by for row in owners] != [common["changed_by"]]:
            raise changed_meanwhile(common["library"], "at the same moment")
    if number % _CHANGES_A_FILE == 0:
        tables.compact(SPACES.name)


def changed_meanwhile(library: str, when: str = "meanwhile") -> RunActiveError:
    """Makes the fault that says that somebody else changed a library's spaces."""
    return RunActiveError(
        f"another process changed the spaces of library {library} {when}. Look at embedlake spaces, and run again."
    )


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
