"""One or two spaces of a library, evaluated with the same judged queries."""

from schemas.errors import InputError
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import neighbour_overlap, paired_differences, score_queries, search_depth
from spark_jobs.evaluation.report import Comparison, Evaluation, SpaceScores, ensure_evaluations
from spark_jobs.evaluation.retrieval import RetrievedDocuments, retrieve_documents
from spark_jobs.store.open_space import OpenSpace, search_model


def evaluate_spaces(
    space: OpenSpace, other: OpenSpace | None, judged: JudgedQueries, k: int, keep_identical_ids: bool = False
) -> Evaluation:
    """Evaluates a space, and compares it with another one if that is given.

    Args:
        space: The space.
        other: A second space, searched with its own model.
        judged: The queries and their judgments.
        k: A cutoff for the measures in addition to the usual ones.
        keep_identical_ids: Whether a document counts for the query with its id.

    Returns:
        The evaluation, which is not recorded yet.

    Raises:
        InputError: A space cannot be searched, holds no judged document, or the store cannot be written.
    """
    # Models and the store are checked before a space is searched.
    model, other_model = search_model(space), search_model(other) if other is not None else None
    ensure_evaluations(space.tables.spark, space.settings)
    depth = search_depth(k)
    retrieved = retrieve_documents(space, model, judged, depth, keep_identical_ids)
    scores = _scores(space, judged, retrieved, k)
    if other is None or other_model is None:
        return Evaluation(judged, k, depth, scores, None, keep_identical_ids)
    other_retrieved = retrieve_documents(other, other_model, judged, depth, keep_identical_ids)
    other_scores = _scores(other, judged, other_retrieved, k)
    comparison = Comparison(
        other=other_scores,
        differences=paired_differences(scores.scores, other_scores.scores),
        overlap=neighbour_overlap(retrieved.documents, other_retrieved.documents, k),
    )
    return Evaluation(judged, k, depth, scores, comparison, keep_identical_ids)


def require_known_documents(evaluation: Evaluation) -> None:
    """Raises InputError if no judged document is in the space that was evaluated."""
    documents, judged = len(evaluation.judged.documents), evaluation.judged
    if evaluation.scores.missing >= documents:
        raise InputError(
            f"space {evaluation.scores.space} has none of the {documents:,} documents in "
            f"{judged.judgements_file.path}. Name the judgements of this library."
        )


def _scores(space: OpenSpace, judged: JudgedQueries, retrieved: RetrievedDocuments, k: int) -> SpaceScores:
    return SpaceScores(
        space=space.name,
        model_fingerprint=space.model_fingerprint,
        vectors_version=space.vectors.version,
        truncated=retrieved.truncated,
        missing=retrieved.missing,
        own_documents=retrieved.own_documents,
        scores=score_queries(judged, retrieved.documents, k),
    )
