"""What a job asks before it works on a space beside its runs: the tables are there, and no run is at work."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.ledger import LEDGER
from schemas.runs import RUNS
from spark_jobs import store
from spark_jobs.claims import history, refuse_second
from spark_jobs.locks import space_lock
from spark_jobs.settings import Settings


def require_tables(spark: SparkSession, settings: Settings) -> None:
    """Refuses a space that no run has written to.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Raises:
        InputError: The space lacks its vectors or its ledger.
    """
    place = store.place_of(settings)
    missing = [name for name in map(place.name, ("vectors", LEDGER.name)) if not store.exists(spark, name)]
    if missing:
        raise InputError(
            f"space {settings.library}.{settings.space} has no table {' and no table '.join(missing)}: check library, "
            "space and store, or run embedlake embed first"
        )


@contextmanager
def exclusive(spark: SparkSession, settings: Settings) -> Iterator[None]:
    """Holds a space for work that is no run.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Raises:
        RunActiveError: A run, or other work of this kind, is under way.
    """
    place = store.place_of(settings)
    with space_lock(settings):
        # A store whose record of runs was lost has nothing to say about runs that are at work.
        if store.exists(spark, place.name(RUNS.name)):
            refuse_second(history(spark, place)[0], settings, take_over=False)
        yield
