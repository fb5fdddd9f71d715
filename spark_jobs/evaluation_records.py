"""The record of evaluations: rows appended to the store's `evaluations` table."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from schemas.evaluations import EVALUATIONS
from spark_jobs import store
from spark_jobs.evaluation_report import Evaluation, SpaceScores
from spark_jobs.locks import store_lock
from spark_jobs.runs import installed_versions
from spark_jobs.settings import Settings

Row = dict[str, Any]


def ensure_evaluations(spark: SparkSession, settings: Settings) -> None:
    """Makes the table where there is none, before anything is embedded whose result could not be kept.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Raises:
        InputError: The store cannot be written.
    """
    with store_lock(settings):
        store.ensure_table(spark, store.place_of(settings), EVALUATIONS)


def record_evaluation(spark: SparkSession, settings: Settings, rows: Iterable[Row]) -> None:
    """Appends an evaluation in one commit.

    Args:
        spark: The live session.
        settings: The whole configuration.
        rows: Values by column, one row for each measure; those of the library, the moment and the software are added.
    """
    common = {
        "evaluated_at": datetime.now().astimezone(),
        "library": settings.library,
        "versions": installed_versions(),
    }
    values = [tuple({**common, **row}.get(name) for name in EVALUATIONS.schema.names) for row in rows]
    with store_lock(settings):
        store.append(spark.createDataFrame(values, EVALUATIONS.schema), store.place_of(settings), EVALUATIONS.name)


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Describes an evaluation for the table.

    Args:
        evaluation: The evaluation.

    Returns:
        A row for each measure of the space, with the difference where there is another one; then those of the other
        space; then their overlap, under the name of the first.
    """
    other = evaluation.comparison
    rows = _of_space(evaluation, evaluation.scores)
    if other is None:
        return rows
    against = _name(other.other)
    for row in rows:
        difference = other.differences[row["measure"]]
        row |= {"against": against, "difference": difference.value, "low": difference.low, "high": difference.high}
    overlap = {"measure": evaluation.overlap_name, "value": other.overlap, "against": against}
    return [*rows, *_of_space(evaluation, other.other), {**_common(evaluation, evaluation.scores), **overlap}]


def _of_space(evaluation: Evaluation, scores: SpaceScores) -> list[Row]:
    common = _common(evaluation, scores)
    return [{**common, "measure": measure, "value": mean} for measure, mean in scores.means.items()]


def _common(evaluation: Evaluation, scores: SpaceScores) -> Row:
    judged = evaluation.judged
    return {
        "space": _name(scores),
        "model_fingerprint": scores.model_fingerprint,
        "vectors_version": scores.vectors_version,
        "queries": judged.queries_file.path.name,
        "queries_hash": judged.queries_file.sha256,
        "judgements": judged.judgements_file.path.name,
        "judgements_hash": judged.judgements_file.sha256,
        "query_count": len(judged.queries),
        "missing_documents": scores.missing,
    }


def _name(scores: SpaceScores) -> str:
    # Library and space; no name has a dot.
    return scores.space.partition(".")[2]
