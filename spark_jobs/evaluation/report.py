"""What a person, or a program, reads of an evaluation."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from schemas.evaluations import EVALUATIONS
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import MeasureDifference, Scores
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import store_lock
from spark_jobs.store.runs import installed_versions
from spark_jobs.store.tables import space_tables

_LABEL_WIDTH = 11
# Enough to tell models apart.
_FINGERPRINT_DIGITS = 12

Row = dict[str, Any]


@dataclass(frozen=True)
class SpaceScores:
    """How good retrieval from one space is.

    Attributes:
        space: Library and space.
        model_fingerprint: Hash of everything that decides a vector.
        vectors_version: Version of `vectors` that was searched.
        truncated: Queries of which the model saw only the beginning.
        missing: Judged documents that the space does not hold.
        scores: (queries,) float64 of each measure.
    """

    space: str
    model_fingerprint: str
    vectors_version: int
    truncated: int
    missing: int
    scores: Scores

    @property
    def means(self) -> dict[str, float]:
        """Mean over the queries of each measure."""
        return {measure: float(values.mean()) for measure, values in self.scores.items()}

    def line(self) -> str:
        """Renders what was searched.

        Returns:
            One line.
        """
        parts = [self.space, f"model {self.model_fingerprint[:_FINGERPRINT_DIGITS]}"]
        parts.append(f"vectors at version {self.vectors_version:,}")
        if self.truncated:
            parts.append(f"the model saw only the beginning of {self.truncated:,} queries")
        if self.missing:
            parts.append(f"{self.missing:,} judged documents are not there")
        return " · ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Returns everything but the single queries, as JSON takes it."""
        return {
            "space": self.space,
            "model_fingerprint": self.model_fingerprint,
            "vectors_version": self.vectors_version,
            "truncated_queries": self.truncated,
            "missing_documents": self.missing,
            "measures": self.means,
        }


@dataclass(frozen=True)
class Comparison:
    """Another space, by the same queries.

    Attributes:
        other: How good retrieval from that one is.
        differences: How much better the first space is, by measure.
        overlap: Mean share of the nearest k documents that both find.
    """

    other: SpaceScores
    differences: Mapping[str, MeasureDifference]
    overlap: float


@dataclass(frozen=True)
class Evaluation:
    """How good retrieval is, and how it compares.

    Attributes:
        judged: The queries and their judgements.
        k: Cutoff that the user asked for.
        depth: Documents that were searched for, of each query.
        scores: The settings' space.
        comparison: Another space; None where there is none to compare with.
    """

    judged: JudgedQueries
    k: int
    depth: int
    scores: SpaceScores
    comparison: Comparison | None = None

    def __str__(self) -> str:
        """Renders the evaluation in plain text."""
        lines = self.lines()
        width = max(_LABEL_WIDTH, *(len(label) + 1 for label, _ in lines))
        return "\n".join(f"{label:<{width}}{text}" for label, text in lines)

    def lines(self) -> list[tuple[str, str]]:
        """Renders the evaluation as pairs.

        Returns:
            Label and text of each line.
        """
        judged, other = self.judged, self.comparison
        queries = f"{len(judged.queries):,} with judgements"
        if judged.unjudged:
            queries += f" · {judged.unjudged:,} without any, left out"
        if judged.hopeless:
            queries += f" · {judged.hopeless:,} without a relevant document, which score 0"
        lines = [
            ("space", self.scores.line()),
            *([("against", other.other.line())] if other else []),
            ("queries", queries),
            (
                "documents",
                f"{len(judged.documents):,} judged · {self.depth:,} found for each query, by their best chunk",
            ),
        ]
        for measure, mean in self.scores.means.items():
            text = f"{mean:.5f}"
            if other:
                text += f" · against {other.other.means[measure]:.5f} · {other.differences[measure]}"
            lines.append((measure, text))
        if other:
            lines.append((self.overlap_name, f"{other.overlap:.5f} of the nearest {self.k:,} documents are the same"))
        return lines

    @property
    def overlap_name(self) -> str:
        """Name under which the overlap of two spaces is shown and recorded."""
        return f"overlap@{self.k}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the evaluation as JSON takes it, each query's values included."""
        judged, other = self.judged, self.comparison
        found = {
            "queries": str(judged.queries_file.path),
            "judgements": str(judged.judgements_file.path),
            "judged_queries": len(judged.queries),
            "unjudged_queries": judged.unjudged,
            "queries_without_relevant_document": judged.hopeless,
            "judged_documents": len(judged.documents),
            "depth": self.depth,
            **self.scores.as_dict(),
            "per_query": _per_query(judged, self.scores.scores),
        }
        if other:
            found["against"] = {
                **other.other.as_dict(),
                "differences": {measure: asdict(difference) for measure, difference in other.differences.items()},
                self.overlap_name: other.overlap,
                "per_query": _per_query(judged, other.other.scores),
            }
        return found


def _per_query(judged: JudgedQueries, scores: Scores) -> dict[str, dict[str, float]]:
    return {
        query: {measure: float(values[tables]) for measure, values in scores.items()}
        for tables, query in enumerate(judged.queries)
    }


def ensure_evaluations(spark: SparkSession, settings: Settings) -> None:
    """Makes the table where there is none, before anything is embedded whose result could not be kept.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Raises:
        InputError: The store cannot be written.
    """
    with store_lock(settings):
        space_tables(spark, settings).ensure(EVALUATIONS)


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
        space_tables(spark, settings).append(spark.createDataFrame(values, EVALUATIONS.schema), EVALUATIONS.name)


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
