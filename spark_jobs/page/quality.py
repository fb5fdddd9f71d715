"""Measured quality of a library's spaces over time: evaluations, and what promotions were decided by."""

from pyspark.sql import functions as F

from schemas.evaluations import EVALUATIONS
from schemas.spaces import SPACES
from spark_jobs.page.facts import Evaluated, SpaceChange
from spark_jobs.page.history import utc
from spark_jobs.store.tables import SpaceTables

_MOST_EVALUATIONS = 1_000
_MOST_CHANGES = 20


def read_evaluations(tables: SpaceTables) -> list[Evaluated]:
    """Reads the newest measures of a library's spaces, the oldest of them first; `tables` are of any space."""
    if not tables.exists(EVALUATIONS.name):
        return []
    here = (F.col("library") == tables.location.library) & F.col("value").isNotNull()
    rows = tables.read(EVALUATIONS.name).where(here).orderBy(F.desc("evaluated_at"), "space", "measure")
    return [
        Evaluated(
            space=row.space,
            measure=row.measure,
            value=row.value,
            queries=row.queries or "",
            query_count=row.query_count or 0,
            at=utc(row.evaluated_at),
            against=row.against,
            difference=row.difference,
            low=row.low,
            high=row.high,
        )
        for row in reversed(rows.limit(_MOST_EVALUATIONS).collect())
    ]


def read_changes(tables: SpaceTables) -> list[SpaceChange]:
    """Reads the last decisions about a library's spaces, the newest first: changes with figures or a reason."""
    told = F.col("reason").isNotNull() | (F.coalesce(F.size("figures"), F.lit(0)) > 0)
    rows = tables.read(SPACES.name).where((F.col("library") == tables.location.library) & told)
    return [
        SpaceChange(row.space, row.change or "", utc(row.changed_at), row.reason or "", dict(row.figures or {}))
        for row in rows.orderBy(F.desc("number"), "space").limit(_MOST_CHANGES).collect()
    ]
