"""What remains of the documents that were retrieved for a query that is a document itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.evaluation import retrieval
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import score_queries
from spark_jobs.evaluation.retrieval import retrieve_documents, without_own
from spark_jobs.search.text_files import TextFile

FILE = TextFile(Path("any"), "0" * 64, [], [])


def judged_of(grades: dict[str, dict[str, int]]) -> JudgedQueries:
    return JudgedQueries({query: "text" for query in grades}, grades, 0, FILE, FILE)


@pytest.mark.parametrize(
    ("found", "grades", "expected", "count"),
    [
        (["q", "a", "b"], {"a": 1}, ["a", "b"], 1),
        (["a", "q", "b"], {"a": 1}, ["a", "b"], 1),
        (["a", "b", "q"], {"a": 1}, ["a", "b"], 1),
        (["a", "b", "c"], {"a": 1}, ["a", "b"], 0),
        (["q"], {"a": 1}, [], 1),
        ([], {"a": 1}, [], 0),
        (["q", "a", "b"], {"a": 1, "q": 0}, ["a", "b"], 1),
        (["q", "a", "b"], {"a": 1, "q": 1}, ["q", "a"], 0),
    ],
)
def test_a_query_s_own_document_leaves_and_as_many_as_asked_for_remain(
    found: list[str], grades: dict[str, int], expected: list[str], count: int
) -> None:
    assert without_own(judged_of({"q": grades}), {"q": found}, 2) == ({"q": expected}, count)


def test_another_query_s_document_stays() -> None:
    judged = judged_of({"q": {"a": 1}, "r": {"q": 1}})
    assert without_own(judged, {"q": ["r", "q"], "r": ["q", "r"]}, 5) == ({"q": ["r"], "r": ["q"]}, 2)


def test_two_documents_of_which_one_is_the_query_have_the_published_score() -> None:
    pytest.importorskip("ir_measures", reason="ir-measures is an optional dependency")
    judged, found = judged_of({"q": {"a": 1}}), {"q": ["q", "a"]}
    assert score_queries(judged, found)["nDCG@10"] == pytest.approx([1 / np.log2(3)])
    assert list(score_queries(judged, without_own(judged, found, 100)[0])["nDCG@10"]) == [1.0]


@pytest.mark.parametrize(("keeps", "expected"), [(False, ["a", "b", "c"]), (True, ["q", "a", "b"])])
def test_one_more_document_is_searched_for_where_one_may_leave(
    monkeypatch: pytest.MonkeyPatch, keeps: bool, expected: list[str]
) -> None:
    def nearest(space: Any, rows: Any, queries: Any, options: Any) -> Any:
        found = ["q", "a", "b", "c", "d"][: options.k]
        table = pa.table({"query_id": ["q"] * len(found), "rank": range(1, len(found) + 1), "doc_id": found})
        return SimpleNamespace(select=lambda *names: SimpleNamespace(toArrow=lambda: table))

    monkeypatch.setattr(retrieval, "nearest", nearest)
    monkeypatch.setattr(retrieval, "embed_queries", lambda *arguments: SimpleNamespace(truncated=[]))
    monkeypatch.setattr(retrieval, "_missing_count", lambda *arguments: 0)
    space: Any = SimpleNamespace(vectors=SimpleNamespace(rows=None))
    model: Any = None
    retrieved = retrieve_documents(space, model, judged_of({"q": {"a": 1}}), 3, keeps)
    assert (retrieved.documents, retrieved.own_documents) == ({"q": expected}, 0 if keeps else 1)
