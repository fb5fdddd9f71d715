"""Making the tables of a space on its first run."""

from pyspark.sql import SparkSession

from schemas.ledger import LEDGER
from schemas.plan import plan_table
from schemas.runs import RUNS
from schemas.spaces import SPACES
from schemas.staged_chunks import STAGED_CHUNKS
from schemas.staged_vectors import STAGED_VECTORS
from schemas.vectors import vectors_table
from spark_jobs import store
from spark_jobs.locks import store_lock
from spark_jobs.preflight import Checked
from spark_jobs.settings import Settings
from spark_jobs.spaces import register, registered

STAGED = (STAGED_CHUNKS, STAGED_VECTORS)


def ensure_tables(spark: SparkSession, settings: Settings, checked: Checked) -> None:
    """Makes what is missing of the store's and the space's tables, and enters the space into the registry.

    Args:
        spark: The live session.
        settings: The whole configuration.
        checked: What pre-flight found.

    Raises:
        InputError: The store cannot be written.
        SourceError: A table has other columns.
    """
    place = store.place_of(settings)
    payload = checked.source.payload
    with store_lock(settings):
        for table in (RUNS, SPACES):
            store.ensure_table(spark, place, table)
    for table in (vectors_table(payload), LEDGER, plan_table(payload), *STAGED):
        store.ensure_table(spark, place, table)
    # Asked again: another process may have been first while this one waited for the space.
    if not checked.registered and registered(spark, settings) is None:
        register(spark, settings, checked.inference.model, checked.chunking)
