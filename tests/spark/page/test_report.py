"""Reports of real stores: what they count, what they show of it, and what they refuse."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.evaluations import EVALUATIONS
from schemas.runs import FINISHED, RUNS, SLICE_COMMITTED, STARTED
from schemas.table import Table
from spark_jobs.page.history import MOST_RUNS
from spark_jobs.report_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.spaces import register
from spark_jobs.store.tables import delta_session, space_tables
from tests.stores.make_store import unpacked
from udfs.models.source import describe_model
from udfs.specs import ChunkSpec

pytestmark = pytest.mark.spark

HOSTILE = "</script><script>document.title='taken'</script>"
DOCUMENTS = [
    *({"id": f"owl {n}", "text": f"Owls hunt mouse {n}.", "kind": "owl", "n": n} for n in range(30)),
    *({"id": f"bee {n}", "text": f"Bees make honey {n}.", "kind": "bee", "n": n} for n in range(12)),
    {"id": HOSTILE, "text": f"Wasps {HOSTILE}", "kind": None, "n": 7},
    {"id": "blank", "text": " ", "kind": "owl", "n": 0},
    {"id": "bad", "text": "FAKE-ENCODER-RAISES", "kind": "owl", "n": 0},
]
PAYLOAD = {"payload_columns": ["n", "kind"]}
AT = datetime(2026, 3, 1, 12)


def files(store: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in store.rglob("*") if path.is_file() and path.suffix != ".lock"}


def append(spark: SparkSession, settings: Settings, table: Table, rows: list[dict[str, Any]]) -> None:
    values = [tuple(row.get(name) for name in table.schema.names) for row in rows]
    with delta_session(spark):
        space_tables(spark, settings).append(spark.createDataFrame(values, table.schema), table)


def chart_data(page: str) -> dict[str, Any]:
    data = page.partition('id="data">')[2].partition("</script>")[0]
    return {chart["name"]: chart["columns"] for chart in json.loads(data)}


# Worth its time: every count of the page against documents that are counted by hand, in one load.
def test_a_report_counts_what_is_there(
    spark: SparkSession,
    loaded: Callable[..., Settings],
    write_json: Callable[..., str],
    make_settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    settings = loaded(DOCUMENTS, source={**PAYLOAD}, cost={"per_hour": 3600.0, "currency": "EUR"})
    write_json(
        [
            {**DOCUMENTS[0], "text": "Owls sleep."},
            *DOCUMENTS[3:],
            {"id": "new", "text": "Ants.", "kind": "ant", "n": 1},
        ]
    )
    before, out = files(tmp_path / "lake"), tmp_path / "report.html"
    report = run(spark, settings, out)
    facts, page = report.facts, out.read_text()
    assert files(tmp_path / "lake") == before

    assert {name: count for name, count in facts.coverage.documents.items() if count} == {
        **{"added": 1, "changed": 1, "removed": 2, "unchanged": 42}
    }
    assert (facts.coverage.of_source, facts.coverage.in_step) == (44, 42)
    assert facts.contents.statuses == {"embedded": 43, "empty": 1, "quarantined": 1}
    assert facts.contents.reasons == {"model_error": 1}
    assert (facts.contents.chunks, facts.contents.truncated, sum(facts.contents.lengths.counts)) == (43, 0, 43)  # type: ignore[union-attr]
    (first,) = facts.runs.shown
    assert (first.number, first.event, first.counts["added"], facts.runs.total) == (1, "finished", 45, 1)
    # By the clock, which goes on between steps.
    assert first.cost(settings.cost) == pytest.approx(first.counts["milliseconds"] / 1000)
    assert first.total_seconds >= sum(first.seconds.values()) - 0.1
    assert [(each.space, each.state) for each in facts.spaces] == [("main", "active")]

    # The number has too many values.
    assert facts.map is not None and facts.map.column == "kind"
    assert list(facts.map.labels) == ["owl", "bee", "no value"]
    assert sorted(facts.map.ids) == sorted(str(each["id"]) for each in DOCUMENTS[:43])
    shown = {
        id_: (facts.map.labels[group], text)
        for id_, group, text in zip(facts.map.ids, facts.map.groups, facts.map.texts, strict=True)
    }
    assert shown["bee 3"] == ("bee", "Bees make honey 3.") and shown[HOSTILE] == ("no value", f"Wasps {HOSTILE}")
    assert "<script>document" not in page and len(page.encode()) == report.size < 1_100_000
    assert set(chart_data(page)) == {"lengths", "map", "steps", "throughput", "padding", "costs"}
    assert str(report).splitlines()[1:] == [
        "space      toy.main",
        "shows      45 documents · 43 chunks · 1 of 1 runs · 43 vectors on the map",
    ]

    bare = run(spark, settings, out, with_texts=False, color_by="n", seed=1)
    assert bare.facts.map is not None and bare.facts.map.column == "n"
    text = out.read_text()
    words = [str(word) for each in DOCUMENTS[:43] for word in (each["id"], each["text"])]
    assert not [word for word in words if word in text]
    for column, known in (("text", "n, kind"), ("none", "n, kind")):
        with pytest.raises(InputError) as caught:
            run(spark, settings, out, color_by=column)
        assert (
            str(caught.value) == f"--color-by {column} is not a payload column of single values. Name one of {known}."
        )
    with pytest.raises(InputError, match="has no space none"):
        run(spark, settings, out, space="none")


# The oldest one, and the last one before this.
@pytest.mark.parametrize("number", [1, 3])
def test_a_store_of_an_earlier_format_is_reported_as_it_is(spark: SparkSession, tmp_path: Path, number: int) -> None:
    settings = unpacked(f"format-{number}.tar.gz", tmp_path)
    before = files(tmp_path / "store")
    facts = run(spark, settings, tmp_path / "report.html").facts
    assert [(each.number, each.event) for each in facts.runs.shown] == [
        (1, "finished"),
        (2, "finished"),
        (3, "unfinished"),
    ]
    assert (facts.coverage.in_step, facts.coverage.of_source, facts.contents.chunks) == (2, 3, 2)
    assert facts.map is not None and sorted(facts.map.ids) == ["owl", "wren"]
    assert files(tmp_path / "store") == before


def test_a_thousand_runs_are_as_quick_to_read_as_a_hundred(
    spark: SparkSession, loaded: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = loaded(DOCUMENTS, source={**PAYLOAD})
    here = {"library": "toy", "space": "main"}
    counts = {"added": 0, "chunks": 5, "tokens_embedded": 100, "tokens_saved": 10, "slices": 1}
    rows = [
        {
            **{**here, "run_number": n, "run_id": f"toy.main.{n}", "event": FINISHED, "counts": counts},
            **{"event_time": AT + timedelta(hours=n), "seconds": {"embed": 4.0, "close": 1.0}},
        }
        for n in range(2, 1_001)
    ]
    guess = {**counts, "estimated_tokens": 120, "estimated_seconds": 6}
    rows[-1] = {**rows[-1], "counts": guess}
    start = AT + timedelta(days=99)
    sliced = {**here, "run_number": 1_001, "run_id": "toy.main.1001"}
    rows.append({**sliced, "event": STARTED, "event_time": start})
    rows += [
        {
            **{**sliced, "event": SLICE_COMMITTED, "slice_number": n, "event_time": start + timedelta(seconds=10 * n)},
            **{"counts": {"chunks": 2, "tokens_embedded": 50}, "seconds": {"embed": 9.0 * n}},
        }
        for n in range(1, 401)
    ]
    append(
        spark, settings, RUNS, [*rows, {**here, "run_number": 1_002, "event": "maintenance started", "event_time": AT}]
    )
    evaluated = {**here, "model_fingerprint": "f", "vectors_version": 1, "queries": "q.jsonl", "query_count": 9}
    append(
        spark,
        settings,
        EVALUATIONS,
        [
            {**evaluated, "measure": "nDCG@10", "value": 0.5, "evaluated_at": AT},
            {**evaluated, "measure": "nDCG@10", "value": 0.7, "evaluated_at": AT + timedelta(days=1)},
            {**evaluated, "library": "other", "measure": "nDCG@10", "value": 0.9, "evaluated_at": AT},
        ],
    )
    report = run(spark, settings, tmp_path / "report.html")
    runs = report.facts.runs
    assert (runs.total, len(runs.shown), runs.shown[0].number, runs.shown[-1].number) == (1_001, MOST_RUNS, 902, 1_001)
    assert runs.shown[-1].event == "unfinished" and runs.shown[-1].counts["tokens_embedded"] == 400 * 50
    assert runs.sliced == 1_001 and [each.number for each in runs.slices] == list(range(101, 401))
    assert {(each.tokens, each.seconds) for each in runs.slices} == {(50, 10.0)}
    assert [(each.space, each.value) for each in report.facts.evaluations] == [("main", 0.5), ("main", 0.7)]
    drawn = chart_data((tmp_path / "report.html").read_text())
    assert (drawn["estimated-tokens"]["run"], drawn["estimated-tokens"]["actual"]) == ([1_000], [100])
    assert (drawn["estimated-seconds"]["estimate"], drawn["estimated-seconds"]["actual"]) == ([6], [5.0])
    assert report.size < 1_500_000


def test_an_empty_store_and_a_space_without_vectors_have_a_page(
    spark: SparkSession,
    write_json: Callable[..., str],
    make_settings: Callable[..., Settings],
    loaded: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    out = tmp_path / "report.html"
    empty = make_settings(write_json(DOCUMENTS, "other"), store={"path": str(tmp_path / "nothing")})
    facts = run(spark, empty, out).facts
    assert (facts.coverage.in_step, facts.coverage.of_source, facts.spaces, facts.map) == (0, 45, [], None)
    assert "No run has written to this space yet" in out.read_text() and not (tmp_path / "nothing").exists()
    gone = make_settings(str(tmp_path / "absent.jsonl"), store={"path": str(tmp_path / "nothing")})
    facts = run(spark, gone, out).facts
    assert facts.coverage.documents == {} and "A run would stop here: " in out.read_text()

    settings = loaded(DOCUMENTS, source={**PAYLOAD})
    next_ = settings.model_copy(update={"space": "next"})
    with delta_session(spark):
        register(spark, next_, describe_model("fake:8"), ChunkSpec(method="none", max_tokens=64, min_tokens=1))
    facts = run(spark, settings, out, space="next").facts
    assert (facts.space, facts.contents.documents, facts.map, facts.runs.total) == ("next", 0, None, 0)
    assert [(each.space, each.state) for each in facts.spaces] == [("main", "active"), ("next", "building")]
    assert run(spark, next_, out).facts.space == "main"
