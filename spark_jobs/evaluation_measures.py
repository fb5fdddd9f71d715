"""Measures of retrieval, query by query; the formulas are those of ir-measures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.judgements import JudgedQueries

# Value of each measure for each query, in the order of the judged queries.
Scores = dict[str, NDArray[np.float64]]
_USUAL_CUTOFF = 10
_DEEP_CUTOFF = 100


def search_depth(k: int) -> int:
    """Chooses how many documents are searched for: measures look at no more of them.

    Args:
        k: Cutoff that the user asks for.

    Returns:
        Documents of each query.
    """
    return max(_DEEP_CUTOFF, k)


def require_measures() -> Any:
    """Finds the library of measures, before anything is searched.

    Returns:
        The module `ir_measures`.

    Raises:
        InputError: It is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise InputError("evaluation needs ir-measures: pip install 'embedlake[evaluate]'") from error
    return ir_measures


def score_queries(judged: JudgedQueries, found: Mapping[str, Sequence[str]], k: int = _USUAL_CUTOFF) -> Scores:
    """Measures what was found for each query.

    Every measure names its cutoff, as ir-measures writes it: nDCG and RR (whose mean is MRR) at 10 and k, R (recall)
    and AP (whose mean is MAP) at 10, k and 100. A query for which nothing was found has 0.

    Args:
        judged: The queries and their judgements.
        found: Document ids of each query, best first; each once.
        k: Cutoff that the user asks for.

    Returns:
        (queries,) float64 of each measure, by its name.

    Raises:
        InputError: ir-measures is not installed.
    """
    ir = require_measures()
    short, long = sorted({_USUAL_CUTOFF, k}), sorted({_USUAL_CUTOFF, k, _DEEP_CUTOFF})
    kinds = ((ir.nDCG, short), (ir.R, long), (ir.AP, long), (ir.RR, short))
    measures = [kind @ cutoff for kind, cutoffs in kinds for cutoff in cutoffs]
    qrels = [
        ir.Qrel(query, document, grade) for query, grades in judged.grades.items() for document, grade in grades.items()
    ]
    # Ranks in place of scores: each formula would put documents of one score into an order of its own.
    run = [
        ir.ScoredDoc(query, document, -float(rank))
        for query, documents in found.items()
        for rank, document in enumerate(documents, start=1)
    ]
    places = {query: place for place, query in enumerate(judged.queries)}
    scores = {str(measure): np.zeros(len(places)) for measure in measures}
    for metric in ir.iter_calc(measures, qrels, run):
        scores[str(metric.measure)][places[metric.query_id]] = metric.value
    return scores
