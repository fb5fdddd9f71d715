"""The result of an evaluation: how it is shown, as JSON and as rows of the `evaluations` table."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from schemas.evaluations import EVALUATIONS, IDENTICAL_IDS
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import MeasureDifference, Scores
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import store_lock
from spark_jobs.store.runs import installed_versions
from spark_jobs.store.tables import space_tables

# Enough to tell models apart.
_FINGERPRINT_DIGITS = 12

Row = dict[str, Any]


@dataclass(frozen=True)
class SpaceScores:
    """The scores of one space.

    Attributes:
        space: Library and space.
        model_fingerprint: Hash of everything that decides a vector.
        vectors_version: Version of `vectors` that was searched.
        truncated: Number of queries that are longer than the model's limit; only their beginning counted.
        missing: Number of judged documents without vectors in the space.
        scores: (queries,) float64 for each measure.
        own_documents: Number of queries whose own document was retrieved and left out.
    """

    space: str
    model_fingerprint: str
    vectors_version: int
    truncated: int
    missing: int
    scores: Scores
    own_documents: int = 0

    @property
    def means(self) -> dict[str, float]:
        """Mean of each measure over the queries."""
        return {measure: float(values.mean()) for measure, values in self.scores.items()}

    def line(self) -> str:
        """Renders in one line what was searched."""
        parts = [self.space, f"model {self.model_fingerprint[:_FINGERPRINT_DIGITS]}"]
        parts.append(f"vectors at version {self.vectors_version:,}")
        if self.truncated:
            parts.append(f"the model saw only the beginning of {self.truncated:,} queries")
        if self.missing:
            parts.append(f"{self.missing:,} judged documents are missing")
        if self.own_documents:
            parts.append(f"{self.own_documents:,} queries' own documents were left out")
        return " · ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Returns everything except the scores of single queries, for JSON."""
        return {
            "space": self.space,
            "model_fingerprint": self.model_fingerprint,
            "vectors_version": self.vectors_version,
            "truncated_queries": self.truncated,
            "missing_documents": self.missing,
            "own_documents_left_out": self.own_documents,
            "measures": self.means,
        }


@dataclass(frozen=True)
class Comparison:
    """The comparison with another space on the same queries.

    Attributes:
        other: Scores of the other space.
        differences: How much better the first space is, by measure.
        overlap: Mean share of the nearest k documents that both spaces retrieve.
    """

    other: SpaceScores
    differences: Mapping[str, MeasureDifference]
    overlap: float


@dataclass(frozen=True)
class Evaluation:
    """How good retrieval is, and how it compares; print it for a summary.

    Attributes:
        judged: The queries and their judgments.
        k: The configured cutoff, in addition to the usual ones.
        depth: Number of documents retrieved for each query.
        scores: Scores of the configured space.
        comparison: Comparison with another space, or None.
        keep_identical_ids: Whether documents count for the queries that have their ids.
    """

    judged: JudgedQueries
    k: int
    depth: int
    scores: SpaceScores
    comparison: Comparison | None = None
    keep_identical_ids: bool = False

    def __str__(self) -> str:
        """Renders the evaluation in plain text."""
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the evaluation as pairs of label and text."""
        judged, comparison = self.judged, self.comparison
        queries = f"{len(judged.queries):,} with judgements"
        if judged.unjudged:
            queries += f" · {judged.unjudged:,} without any, left out"
        if judged.hopeless:
            queries += f" · {judged.hopeless:,} without a relevant document, which score 0"
        documents = f"{len(judged.documents):,} judged · {self.depth:,} found for each query, by their best chunk"
        if self.keep_identical_ids:
            documents += " · a query's own document counts"
        lines = [
            ("space", self.scores.line()),
            *([("against", comparison.other.line())] if comparison else []),
            ("queries", queries),
            ("documents", documents),
        ]
        for measure, mean in self.scores.means.items():
            text = f"{mean:.5f}"
            if comparison:
                text += f" · against {comparison.other.means[measure]:.5f} · {comparison.differences[measure]}"
            lines.append((measure, text))
        if comparison:
            lines.append(
                (self.overlap_name, f"{comparison.overlap:.5f} of the nearest {self.k:,} documents are the same")
            )
        return lines

    @property
    def overlap_name(self) -> str:
        """Name under which the overlap of two spaces is shown and recorded."""
        return f"overlap@{self.k}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the evaluation for JSON, the scores of each query included."""
        judged, comparison = self.judged, self.comparison
        result = {
            "queries": str(judged.queries_file.path),
            "judgements": str(judged.judgements_file.path),
            "judged_queries": len(judged.queries),
            "unjudged_queries": judged.unjudged,
            "queries_without_relevant_document": judged.hopeless,
            "judged_documents": len(judged.documents),
            "depth": self.depth,
            "identical_ids": "counted" if self.keep_identical_ids else "left out",
            **self.scores.as_dict(),
            "per_query": _per_query(judged, self.scores.scores),
        }
        if comparison:
            result["against"] = {
                **comparison.other.as_dict(),
                "differences": {measure: asdict(difference) for measure, difference in comparison.differences.items()},
                self.overlap_name: comparison.overlap,
                "per_query": _per_query(judged, comparison.other.scores),
            }
        return result


def _per_query(judged: JudgedQueries, scores: Scores) -> dict[str, dict[str, float]]:
    return {
        query: {measure: float(values[index]) for measure, values in scores.items()}
        for index, query in enumerate(judged.queries)
    }


def ensure_evaluations(spark: SparkSession, settings: Settings) -> None:
    """Creates the `evaluations` table if it does not exist, so that an unwritable store fails before the search."""
    with store_lock(settings):
        space_tables(spark, settings).ensure(EVALUATIONS)


def record_evaluation(spark: SparkSession, settings: Settings, rows: Iterable[Row]) -> None:
    """Appends rows to `evaluations` in one commit, with the time, the library and the versions of packages."""
    common = {"evaluated_at": datetime.now().astimezone(), "library": settings.library}
    versions = installed_versions()
    complete = ({**common, **row, "versions": {**versions, **row.get("versions", {})}} for row in rows)
    values = [tuple(row.get(name) for name in EVALUATIONS.schema.names) for row in complete]
    with store_lock(settings):
        space_tables(spark, settings).append(spark.createDataFrame(values, EVALUATIONS.schema), EVALUATIONS)


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Describes an evaluation for the `evaluations` table.

    Args:
        evaluation: The evaluation.

    Returns:
        A row for each measure of the space, with the difference from the other space if there is one; then the rows of
        the other space; then the overlap, as a row of the first space.
    """
    comparison = evaluation.comparison
    rows = _space_rows(evaluation, evaluation.scores)
    if comparison is None:
        return rows
    against = _space_name(comparison.other)
    for row in rows:
        difference = comparison.differences[row["measure"]]
        row |= {"against": against, "difference": difference.value, "low": difference.low, "high": difference.high}
    overlap = {"measure": evaluation.overlap_name, "value": comparison.overlap, "against": against}
    return [*rows, *_space_rows(evaluation, comparison.other), {**_common(evaluation, evaluation.scores), **overlap}]


def _space_rows(evaluation: Evaluation, scores: SpaceScores) -> list[Row]:
    common = _common(evaluation, scores)
    return [{**common, "measure": measure, "value": mean} for measure, mean in scores.means.items()]


def _common(evaluation: Evaluation, scores: SpaceScores) -> Row:
    judged = evaluation.judged
    return {
        "space": _space_name(scores),
        "model_fingerprint": scores.model_fingerprint,
        "vectors_version": scores.vectors_version,
        "queries": judged.queries_file.path.name,
        "queries_hash": judged.queries_file.sha256,
        "judgements": judged.judgements_file.path.name,
        "judgements_hash": judged.judgements_file.sha256,
        "query_count": len(judged.queries),
        "missing_documents": scores.missing,
        "versions": {IDENTICAL_IDS: "counted" if evaluation.keep_identical_ids else f"{scores.own_documents} left out"},
    }


def _space_name(scores: SpaceScores) -> str:
    # Neither the library's name nor the space's contains a dot.
    return scores.space.partition(".")[2]
