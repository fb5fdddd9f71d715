"""Search on stored tables, compared with brute force in numpy on the rows that a different reader finds there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import DataFrame, SparkSession

from schemas.errors import InputError
from spark_jobs import search_library
from spark_jobs.embed_library import run as embed
from spark_jobs.search import nearest
from spark_jobs.search.hits import SearchResult, as_json, as_lines
from spark_jobs.search.nearest import SearchOptions, matching
from spark_jobs.search.question import ask, load_here, prepare_search
from spark_jobs.settings import Settings
from spark_jobs.store.open_space import OpenSpace, open_space
from spark_jobs.store.tables import delta_session
from tests.support.space import Space
from tests.support.template import QUANTIZED, quantized
from udfs.encoders.fake import FakeEncoder

pytestmark = pytest.mark.spark

DIMENSION = 16
# Two documents with the same text have equal vectors and equal scores.
DOCUMENTS = [
    {
        "id": f"d{number}",
        "text": f"Owls hunt mouse {number // 2 * 2}.",
        "package": ["a", "b", None][number % 3],
        "rank": 5,
    }
    for number in range(40)
]
DOCUMENTS += [{"id": "long", "text": " ".join(f"Bees make honey {n}." for n in range(400)), "package": "b", "rank": 1}]
QUERIES = [(f"q{number}", f"question {number}") for number in range(9)]


@pytest.fixture(scope="module")
def settings(load_template: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    sections = {"source": {"payload_columns": ["package", "rank"]}, "model": {"path": f"fake:{DIMENSION}"}}
    return load_template(tmp_path_factory.mktemp("library"), DOCUMENTS, **sections)


@pytest.fixture(scope="module")
def searchable(spark: SparkSession, settings: Settings) -> Iterator[OpenSpace]:
    with delta_session(spark):
        yield open_space(spark, settings)


def stored(settings: Settings) -> list[dict[str, Any]]:
    folder = Path(str(settings.store.path), "toy", settings.space, "vectors")
    read = QueryBuilder().register("t", DeltaTable(folder)).execute("SELECT * FROM t ORDER BY chunk_id").read_all()
    return pa.table(read).to_pylist()


def by_brute_force(rows: list[dict[str, Any]], vector: np.ndarray, k: int) -> list[tuple[str, float]]:
    matrix = np.array([row["embedding"] for row in rows], np.float64).reshape(len(rows), -1)
    scores = (matrix @ vector.astype(np.float64)).astype(np.float32)
    order = sorted(range(len(rows)), key=lambda place: (-scores[place], rows[place]["chunk_id"]))
    return [(rows[place]["chunk_id"], float(scores[place])) for place in order[:k]]


def asked(text: str) -> np.ndarray:
    return FakeEncoder(DIMENSION).encode([text])[0]


def found(spark: SparkSession, settings: Settings, wanted: SearchOptions) -> dict[str, list[tuple[str, float]]]:
    with delta_session(spark):
        hits: DataFrame = search_library.search(open_space(spark, settings), QUERIES, wanted)
        rows = hits.orderBy("query_id", "rank").collect()
    lists: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        lists.setdefault(row.query_id, []).append((row.chunk_id, row.score))
        assert row["rank"] == len(lists[row.query_id])
    return lists


def test_hits_are_those_of_brute_force_in_its_order(spark: SparkSession, settings: Settings) -> None:
    rows = stored(settings)
    lists = found(spark, settings, SearchOptions(k=12))
    assert lists == {query_id: by_brute_force(rows, asked(text), 12) for query_id, text in QUERIES}


def test_more_hits_than_chunks_give_every_chunk(spark: SparkSession, settings: Settings) -> None:
    rows = stored(settings)
    assert len(rows) > 41
    lists = found(spark, settings, SearchOptions(k=1000))
    assert lists["q0"] == by_brute_force(rows, asked(QUERIES[0][1]), len(rows))


def test_a_filter_counts_before_the_best_are_taken(spark: SparkSession, settings: Settings) -> None:
    rows = [row for row in stored(settings) if row["package"] == "a"]
    answer = search_library.answer(spark, settings, "owls", SearchOptions(k=5, where="package = 'a'"))
    assert [(hit.chunk_id, hit.score) for hit in answer.hits] == by_brute_force(rows, asked("owls"), 5)
    nothing = search_library.answer(spark, settings, "owls", SearchOptions(where="package = 'z' and chunk_index > 3"))
    assert (nothing.hits, as_lines(nothing), as_json(nothing)) == ([], "toy.main: no chunk matches", "")


def test_a_document_is_one_hit_by_its_best_chunk(spark: SparkSession, settings: Settings) -> None:
    rows = stored(settings)
    answer = search_library.answer(spark, settings, "bees", SearchOptions(k=6, per_document=True))
    best: dict[str, tuple[str, float]] = {}
    docs = {row["chunk_id"]: row["doc_id"] for row in rows}
    for chunk_id, score in by_brute_force(rows, asked("bees"), len(rows)):
        best.setdefault(docs[chunk_id], (chunk_id, score))
    assert [(hit.chunk_id, hit.score) for hit in answer.hits] == list(best.values())[:6]


def test_a_hit_carries_what_the_table_has_but_the_embedding(spark: SparkSession, settings: Settings) -> None:
    answer = search_library.answer(spark, settings, "Owls hunt mouse 6.", SearchOptions(k=2))
    own = {row["doc_id"]: row for row in stored(settings) if row["text"] == "Owls hunt mouse 6."}
    assert set(own) == {"d6", "d7"}
    for rank, hit in enumerate(answer.hits, 1):
        row = own.pop(hit.doc_id)
        taken = {"payload_rank": row.pop("rank"), "query_id": "question", "rank": rank, "score": pytest.approx(1.0)}
        del row["embedding"]
        assert hit.asDict() == {**row, **taken}


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_bytes_and_bits_are_searched_in_their_own_metric(
    spark: SparkSession, loaded: Callable[..., Settings], tmp_path: Path, precision: str
) -> None:
    settings = loaded(QUANTIZED, **quantized(precision))
    vector = asked("owls")
    table = QueryBuilder().register("t", DeltaTable(tmp_path / "lake" / "_embedlake" / "spaces"))
    ranges = pa.table(table.execute("SELECT ranges FROM t").read_all())["ranges"].to_pylist()[0]
    rows = stored(settings)
    stored_bytes = np.array([row["embedding"] for row in rows])
    if precision == "binary":
        matrix = np.unpackbits((stored_bytes + 128).astype(np.uint8), axis=1) * 2.0 - 1
        own = np.where(vector > 0, 1.0, -1.0)
    else:
        low, high = np.array(json.loads(ranges), np.float64)
        steps = (high - low) / 255
        matrix = (low + (stored_bytes + 128.5) * steps).astype(np.float32)
        own = (low + (np.clip(np.floor((vector - low) / steps), 0, 255) + 0.5) * steps).astype(np.float32)
    for row, numbers in zip(rows, matrix, strict=True):
        row["embedding"] = numbers
    prepared = prepare_search(spark, settings, load=load_here)
    for rescore, query in ((False, own), (True, vector)):
        options = SearchOptions(k=8, rescore=rescore)
        expected = by_brute_force(rows, query, 8)
        # Embedded by executors, and by the process of a local session.
        answers = [search_library.answer(spark, settings, "owls", options), ask(prepared, "owls", options)]
        for hits in (found.hits for found in answers):
            assert [hit.chunk_id for hit in hits] == [chunk_id for chunk_id, _ in expected]
            assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-6)


def test_each_question_sees_the_newest_vectors(
    spark: SparkSession, loaded: Callable[..., Settings], write_json: Callable[..., str]
) -> None:
    documents = [{"id": f"d{number}", "text": f"Owls hunt mouse {number}."} for number in range(3)]
    settings = loaded(documents)
    prepared = prepare_search(spark, settings, load=load_here)
    before = ask(prepared, "Bees dance.", SearchOptions())
    write_json([*documents[1:], {"id": "bee", "text": "Bees dance."}])
    embed(spark, settings, allow_removals=True)
    after = ask(prepared, "Bees dance.", SearchOptions())
    assert {hit.doc_id for hit in before.hits} == {"d0", "d1", "d2"}
    assert after.hits[0].doc_id == "bee" and after.hits[0].score == pytest.approx(1.0)
    assert {hit.doc_id for hit in after.hits} == {"d1", "d2", "bee"}


def test_a_question_is_one_scan(spark: SparkSession, settings: Settings) -> None:
    def jobs() -> int:
        return int(spark.sparkContext._jsc.sc().statusStore().jobsList(None).head().jobId())

    prepared = prepare_search(spark, settings, load=load_here)
    ask(prepared, "owls", SearchOptions())
    before = jobs()
    ask(prepared, "owls", SearchOptions())
    by_itself = jobs() - before
    search_library.answer(spark, settings, "owls", SearchOptions())
    before = jobs()
    search_library.answer(spark, settings, "owls", SearchOptions())
    # Two read Delta's log, one scans. In a live session one more embeds the question, and three read the registry.
    # Before hits came with their rows, an answer took 20 jobs.
    assert (by_itself, jobs() - before) == (3, 7)


def test_a_file_of_queries_becomes_a_table_of_hits(
    spark: SparkSession, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Passes of four queries: a search in several passes still gives one table.
    monkeypatch.setattr(nearest, "_HITS_PER_SCAN", 12)
    file = tmp_path / "queries.jsonl"
    file.write_text("".join(json.dumps({"_id": query_id, "text": text}) + "\n" for query_id, text in QUERIES))
    report = search_library.run(spark, settings, str(file), str(tmp_path / "hits"), SearchOptions(k=3))
    assert "queries    9\n" in str(report)
    read = QueryBuilder().register("t", DeltaTable(tmp_path / "hits"))
    table = pa.table(read.execute("SELECT query_id, chunk_id, score FROM t ORDER BY query_id, rank").read_all())
    rows = stored(settings)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (query_id, *hit) for query_id, text in QUERIES for hit in by_brute_force(rows, asked(text), 3)
    ]
    with pytest.raises(InputError, match=r"--out .*hits cannot be written: \[DELTA_PATH_EXISTS\]"):
        search_library.run(spark, settings, str(file), str(tmp_path / "hits"), SearchOptions(k=3))
    search_library.run(
        spark, settings, str(file), str(tmp_path / "hits.parquet"), SearchOptions(k=1, per_document=True)
    )
    assert spark.read.parquet(str(tmp_path / "hits.parquet")).count() == 9


def test_a_question_longer_than_the_model_says_so(spark: SparkSession, settings: Settings) -> None:
    assert search_library.answer(spark, settings, "owl " * 300, SearchOptions(k=1)).truncated
    assert not search_library.answer(spark, settings, "owl", SearchOptions(k=1)).truncated


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("pakage = 'a'", "UNRESOLVED_COLUMN"),
        ("package", "FILTER_NOT_BOOLEAN"),
        ("package = 'a'; drop table x", "PARSE_SYNTAX_ERROR"),
        ("package = 'a' union select 1", "PARSE_SYNTAX_ERROR"),
        ("count(*) > 1", "aggregate|INVALID_WHERE_CONDITION"),
        ("", "PARSE"),
    ],
)
def test_a_filter_that_is_no_boolean_expression_is_refused(searchable: OpenSpace, where: str, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s)^--where takes one boolean SQL expression .*({message})"):
        matching(searchable.vectors.rows, where)


def test_what_cannot_be_searched_is_refused(
    spark: SparkSession, settings: Settings, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    def refused(message: str, settings: Settings, question: str = "owls", space: str | None = None) -> None:
        with pytest.raises(InputError, match=message):
            search_library.answer(spark, settings, question, SearchOptions(), space)

    refused(r"library toy has no space other \(it has main.*\)\. Run embedlake embed", settings, space="other")
    refused(r"library toy has no space main \(no run has written to it yet\)", make_settings(str(tmp_path / "none")))
    other = settings.model_copy(update={"model": settings.model.model_copy(update={"path": "fake:8"})})
    refused("space toy.main was made by the model fake:16. The configured model fake:8 differs from it", other)
    refused(r"the question is empty\. Write a question", settings, question=" \n")
    refused("query 'question' cannot be embedded: model_error", settings, question="FAKE-ENCODER-RAISES")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.jsonl", None, "cannot be read"),
        ("names.csv", "a,b\n1,2\n", "is no header. Write one that names text, and _id, id or query_id."),
        ("empty.csv", "id,text\n", "there are no queries in"),
        ("blank.csv", "id,text\n1,owls\n2,\n3,\n", "blank.csv, line 3: query '2' has an empty text"),
        ("none.csv", "id,text\nnone,owls\n,bees\n", "none.csv, line 3: has no id that is text or a whole number"),
        ("twice.csv", "id,text\n1,owls\n1,bees\n", "query id '1' appears more than once. Make ids unique."),
    ],
)
def test_a_file_that_holds_no_queries_is_refused(
    spark: SparkSession, settings: Settings, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as caught:
        search_library.run(spark, settings, str(file), str(tmp_path / "hits"), SearchOptions())
    assert message in str(caught.value)


def test_an_empty_library_has_no_hits(spark: SparkSession, make_settings: Callable[..., Settings]) -> None:
    empty = Space(spark, make_settings("unused"))
    assert search_library.answer(spark, empty.settings, "owls", SearchOptions()).hits == []


def test_another_space_is_searched_by_the_model_that_made_it(spark: SparkSession, two_spaces: Settings) -> None:
    answer = search_library.answer(spark, two_spaces, "Owls hunt mouse 2.", SearchOptions(k=1), space="small")
    assert (answer.space, answer.hits[0].doc_id, answer.hits[0].score) == ("toy.small", "d002", pytest.approx(1.0))


def test_hits_are_shown_without_what_a_terminal_would_obey(spark: SparkSession, settings: Settings) -> None:
    (hit,) = search_library.answer(
        spark, settings, "Owls hunt mouse 8.", SearchOptions(k=1, where="doc_id = 'd9'")
    ).hits
    hostile = type(hit)(**{**hit.asDict(), "text": "red \x1b[31m\x07text\n" * 40, "doc_id": "d\x1b]0;9"})
    lines = as_lines(SearchResult("toy.main", [hostile], False)).splitlines()
    assert lines[0] == "  1  1.000  d ]0;9 [0:18]  package=a  payload_rank=5"
    assert lines[1].startswith("            red [31m text red [31m") and lines[1].endswith("...")
    assert json.loads(as_json(SearchResult("toy.main", [hit], False)))["doc_id"] == "d9"
