"""The life of a space: built beside the active one, promoted, rolled back, dropped; readers get all of one space."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from schemas.errors import GateError, InputError, ReconciliationError, RunActiveError
from schemas.spaces import SPACES
from spark_jobs import drop_space, export_library, list_spaces, promote_space, rollback_space
from spark_jobs.embed_library import run
from spark_jobs.evaluate_library import run as evaluate
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search.question import ask_active, load_here, prepare_search
from spark_jobs.search_library import answer
from spark_jobs.settings import Settings
from spark_jobs.store import read_vectors
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.locks import space_lock
from spark_jobs.store.promotion import changed, switch_active
from spark_jobs.store.registry import _commit, read_registry
from spark_jobs.store.tables import delta_session, space_tables
from tests.support.refresh.machine import at
from tests.support.refresh.oracle import query
from tests.support.template import OWLS_AND_BEES

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

Loaded = Callable[..., Settings]
MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]
ELMS = {"id": "c", "text": "Elms.", "note": ""}


def space_of(settings: Settings, name: str, **sections: Any) -> Settings:
    """The same library with another space; sections are merged into their own."""
    changes: dict[str, Any] = {key: getattr(settings, key).model_copy(update=value) for key, value in sections.items()}
    return settings.model_copy(update={"space": name, **changes})


@pytest.fixture
def wide(spark: SparkSession, loaded: Loaded) -> tuple[Settings, Settings]:
    """A library with the active space `main` of 8 numbers, and `next` of 16."""
    settings = loaded(OWLS_AND_BEES)
    following = space_of(settings, "next", model={"path": "fake:16"})
    run(spark, following)
    return settings, following


def states(spark: SparkSession, settings: Settings) -> dict[str, str]:
    return {each.space: each.state for each in list_spaces.run(spark, settings)}


def registry_of(settings: Settings) -> list[dict[str, Any]]:
    """The registry's rows, read without Spark."""
    columns = "space, state, active, number, change, reason, figures"
    table = Path(str(settings.store.path), "_embedlake", "spaces")
    rows = query(table, f"select {columns} from t where library = '{settings.library}'")
    return sorted(rows, key=lambda row: (row["number"], row["change"]))


def files(settings: Settings) -> set[Path]:
    return {path for path in Path(str(settings.store.path)).rglob("*") if path.suffix != ".lock"}


def width(spark: SparkSession, settings: Settings, space: str | None = None) -> set[int]:
    return {len(row.embedding) for row in read_vectors(spark, settings, space).collect()}


def crash() -> None:
    raise SimulatedCrash


def test_readers_follow_promotion_and_rollback_and_never_mix(
    spark: SparkSession, wide: tuple[Settings, Settings], tmp_path: Path
) -> None:
    settings, following = wide
    prepared = prepare_search(spark, settings, load=load_here)
    pinned = read_vectors(spark, settings)
    assert width(spark, settings) == {8} and width(spark, following) == {8}
    assert width(spark, settings, "next") == {16}

    report = promote_space.run(spark, settings, "next", reason="wider")
    assert (report.space, report.before, report.reason) == ("next", "main", "wider")
    assert "toy.next is active now, instead of main" in str(report)
    assert "not measured: the settings name no promotion.queries" in str(report)
    assert states(spark, settings) == {"main": "retired", "next": "active"}
    # What was opened before stays with the space it began with; what is opened now has the new one and its model.
    assert {len(row.embedding) for row in pinned.collect()} == {8}
    assert width(spark, settings) == {16} and width(spark, settings, "main") == {8}
    for found in (
        answer(spark, settings, "Owls.", SearchOptions(k=1)),
        answer(spark, following, "Owls.", SearchOptions(k=1)),
        ask_active(prepared, "Owls.", SearchOptions(k=1))[1],
    ):
        assert (found.space, found.hits[0].doc_id) == ("toy.next", "a")
        assert found.hits[0].score == pytest.approx(1.0, abs=1e-6)
    assert answer(spark, settings, "Owls.", SearchOptions(k=1), "main").space == "toy.main"
    assert export_library.run(spark, settings, f"parquet:{tmp_path / 'out'}").space == "toy.next"

    back = rollback_space.run(spark, settings)
    assert (back.space, back.before, back.lag) == ("main", "next", "not behind: it has the same documents")
    assert width(spark, settings) == {8}
    assert states(spark, settings) == {"main": "active", "next": "retired"}
    assert rollback_space.run(spark, settings).space == "next"
    rows = registry_of(settings)
    assert [(row["number"], row["space"], row["change"], row["state"], row["active"]) for row in rows] == [
        (1, "main", "registered", "active", True),
        (2, "next", "registered", "ready", False),
        (3, "next", "promoted", "active", True),
        (3, "main", "replaced", "retired", False),
        (4, "next", "replaced", "retired", False),
        (4, "main", "rolled back", "active", True),
        (5, "main", "replaced", "retired", False),
        (5, "next", "rolled back", "active", True),
    ]
    promoted = rows[2]
    assert (promoted["reason"], dict(promoted["figures"])) == (
        "wider",
        {"documents": 2.0, "covered": 2.0, "coverage": 1.0},
    )


def test_an_active_space_is_promoted_again_without_a_commit(spark: SparkSession, loaded: Loaded) -> None:
    settings = loaded(OWLS_AND_BEES)
    before = files(settings)
    report = promote_space.run(spark, settings, "main")
    assert report.before is None and "toy.main is active already" in str(report)
    assert files(settings) == before


def test_what_may_not_be_promoted_rolled_back_or_dropped(
    spark: SparkSession, loaded: Loaded, write_json: WriteJson
) -> None:
    settings = loaded([{**document, "note": ""} for document in OWLS_AND_BEES])
    half, old = space_of(settings, "half"), space_of(settings, "old")
    run(spark, old)
    run(spark, space_of(settings, "blank", source={"text_columns": ["note"]}))
    with at(("ledger.before", 1), crash), pytest.raises(SimulatedCrash):
        run(spark, half)
    write_json([*({**document, "note": ""} for document in OWLS_AND_BEES), ELMS])
    run(spark, settings)
    before, rows = files(settings), registry_of(settings)

    def refused(message: str, job: Callable[..., Any], *space: str, **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            job(spark, settings, *space, **options)
        assert registry_of(settings) == rows

    promote, drop = promote_space.run, drop_space.run
    refused(
        r"^library toy has no space none \(it has blank, half, main, old\)\. Run embedlake embed, or name",
        promote,
        "none",
    )
    refused(r"^space toy\.half is not complete: its last run has not finished\. Run embedlake embed", promote, "half")
    refused(r"^space toy\.blank is empty\. Run embedlake embed for it first\.$", promote, "blank")
    refused(r"^space old is older than the active space main: 1 documents differ\. Run embedlake", promote, "old")
    refused(r"^--force needs a reason, which is recorded", promote, "old", force=True)
    refused(r"^library toy has no space that was active before", rollback_space.run)
    refused(r"^library toy has no space none", drop, "none")
    refused(r"^space toy\.main is active, so readers use it\. Promote another one first\.$", drop, "main", force=True)
    assert files(settings) == before
    with space_lock(old), pytest.raises(RunActiveError, match=r"another process on this machine is working on space"):
        drop(spark, settings, "old")

    forced = promote(spark, settings, "old", force=True, reason="the source is wrong since noon")
    assert "left out by --force: the source is wrong since noon" in str(forced)
    assert registry_of(settings)[-1]["reason"] is None and registry_of(settings)[-2]["change"] == "promoted"
    back = rollback_space.run(spark, settings)
    assert (back.space, back.lag) == ("main", "1 documents differ from those of old")
    drop(spark, settings, "half")
    refused_after = r"^space half of library toy was dropped \(it has blank, main, old\)"
    rows = registry_of(settings)
    for job in (promote, drop):
        refused(refused_after, job, "half")


def test_a_space_amid_a_refresh_is_not_promoted(
    spark: SparkSession, wide: tuple[Settings, Settings], write_json: WriteJson
) -> None:
    settings, following = wide
    write_json([*OWLS_AND_BEES, ELMS])
    with at(("ledger.before", 1), crash), pytest.raises(SimulatedCrash):
        run(spark, following)
    for options in ({}, {"force": True, "reason": "I cannot wait"}):
        with pytest.raises(InputError, match=r"^space toy\.next is not complete: its last run has not finished"):
            promote_space.run(spark, settings, "next", **options)
    run(spark, following)
    assert promote_space.run(spark, settings, "next").space == "next"


def test_faulty_rows_are_named(spark: SparkSession, wide: tuple[Settings, Settings]) -> None:
    settings, following = wide
    with delta_session(spark):
        tables = space_tables(spark, following)
        spark.sql(f"UPDATE {tables.name('vectors')} SET text = 'Other.' WHERE doc_id = 'a'")
    with pytest.raises(
        ReconciliationError, match=r"^space toy\.next has faults:\n  - 1 rows of vectors whose text_hash"
    ):
        promote_space.run(spark, settings, "next")
    assert states(spark, settings) == {"main": "active", "next": "ready"}


@pytest.fixture
def judged(tmp_path: Path) -> dict[str, str]:
    """Ten questions that only documents answer whose words they share."""
    pytest.importorskip("ir_measures", reason="ir-measures is an optional dependency")
    queries, judgements = tmp_path / "queries.jsonl", tmp_path / "judged.tsv"
    queries.write_text("".join(json.dumps({"_id": f"q{n}", "text": f"Owls {n}."}) + "\n" for n in range(10)))
    judgements.write_text("".join(f"q{n}\td{n}\t1\n" for n in range(10)))
    return {"queries": str(queries), "judgements": str(judgements)}


def test_the_gate_lets_the_better_space_in_and_refuses_the_worse(
    spark: SparkSession, make_settings: MakeSettings, write_json: WriteJson, judged: dict[str, str]
) -> None:
    documents = [{"id": f"d{n}", "text": f"Owls {n}."} for n in range(40)]
    # Chunks of whole documents are found; `poor` has only the second half of the library.
    settings = make_settings(write_json(documents), promotion=judged)
    run(spark, settings)
    poor = space_of(settings, "poor", source={"filter": "int(substring(id, 2)) >= 5"})
    run(spark, poor)
    lenient = space_of(poor, "poor", promotion={"min_coverage": 0.5})
    with pytest.raises(GateError) as refusal:
        promote_space.run(spark, poor, "poor")
    assert str(refusal.value).startswith(
        "space toy.poor was not promoted: it has embedded 35 of the 40 documents of the active space, 0.8750, less "
        "than promotion.min_coverage 0.99; nDCG@10 may be lower by up to "
    )
    assert refusal.value.exit_code == 7
    with pytest.raises(
        GateError, match=r"was not promoted: nDCG@10 may be lower by up to 0\.\d+ \(-0\.50000 \(95% interval"
    ):
        promote_space.run(spark, lenient, "poor")
    assert states(spark, settings) == {"main": "active", "poor": "ready"}
    figures = dict(registry_of(settings)[-1]["figures"])
    # Half of the questions lose the one document that answers them.
    assert figures.pop("low") < figures.pop("difference") == -0.5 < figures.pop("high") < 0
    assert figures == {
        **{"documents": 40.0, "covered": 35.0, "coverage": 0.875, "queries": 10.0},
        **{"nDCG@10": 0.5, "nDCG@10 of the active space": 1.0},
    }
    assert [row["change"] for row in registry_of(settings)] == ["registered", "registered", "refused", "refused"]

    promote_space.run(spark, poor, "poor", force=True, reason="shown to fail")
    with pytest.raises(InputError, match=r"^space main is older than the active space poor: 5 documents differ"):
        promote_space.run(spark, settings, "main")
    run(spark, settings)
    report = promote_space.run(spark, settings, "main")
    assert "1.00000 · against 0.50000 · +0.50000 (95% interval" in str(report)
    assert states(spark, settings) == {"main": "active", "poor": "retired"}
    # A refusal says nothing about which space was active last.
    run(spark, poor)
    with pytest.raises(GateError):
        promote_space.run(spark, poor, "poor")
    assert rollback_space.run(spark, settings).space == "poor"
    measured = query(Path(str(settings.store.path), "_embedlake", "evaluations"), "select space, measure, value from t")
    assert {"space": "poor", "measure": "nDCG@10", "value": 0.5} in measured


def test_judgements_of_another_library_are_refused(
    spark: SparkSession, wide: tuple[Settings, Settings], judged: dict[str, str]
) -> None:
    settings = space_of(wide[0], "main", promotion=judged)
    with pytest.raises(InputError, match=r"^space toy\.next has none of the 10 documents in .*judged\.tsv\. Name"):
        promote_space.run(spark, settings, "next")
    gone = space_of(settings, "main", promotion={"queries": "/no/such.jsonl"})
    with pytest.raises(InputError, match=r"such\.jsonl"):
        promote_space.run(spark, gone, "next")
    assert [row["change"] for row in registry_of(settings)] == ["registered", "registered"]


def test_a_model_that_is_gone_is_no_fault_until_it_is_needed(
    spark: SparkSession, wide: tuple[Settings, Settings]
) -> None:
    settings, following = wide
    promote_space.run(spark, settings, "next")
    gone = space_of(settings, "main", model={"path": "/no/such/model"})
    # The settings' own model is not the active space's.
    assert answer(spark, gone, "Owls.", SearchOptions(k=1)).space == "toy.next"
    with pytest.raises(InputError, match="/no/such/model"):
        run(spark, gone)
    with delta_session(spark):
        seen = read_registry(spark, settings)
        row = changed(seen.find("main"), model=json.dumps({**json.loads(seen.row.model), "path": "/no/such/model"}))
        _commit(space_tables(spark, settings), [{**row, "number": 9}], {"library": "toy", "number": 9})
    with pytest.raises(InputError, match="/no/such/model"):
        answer(spark, following, "Owls.", SearchOptions(k=1), "main")


def test_a_dropped_space_is_gone_and_its_name_is_free(
    spark: SparkSession, wide: tuple[Settings, Settings], tmp_path: Path
) -> None:
    settings, _ = wide
    export_library.run(spark, settings, f"parquet:{tmp_path / 'of-main'}")
    promote_space.run(spark, settings, "next")
    with pytest.raises(InputError, match=r"^space toy\.main was active until recently, .* for another [67]\.\d days"):
        drop_space.run(spark, settings, "main")
    brief = space_of(settings, "main", promotion={"keep_days": 0})
    report = drop_space.run(spark, brief, "main")
    assert str(report).endswith("toy.main is removed, with its tables and their files")
    lake = Path(str(settings.store.path))
    assert sorted(path.name for path in (lake / "toy").iterdir()) == ["next"]
    assert not list(lake.rglob("dropped"))
    # A target with its rows is the library's own, and takes those of another space.
    switched = export_library.run(spark, settings, f"parquet:{tmp_path / 'of-main'}")
    assert (switched.space, switched.sent) == ("toy.next", 2)
    assert states(spark, settings) == {"next": "active"}
    with pytest.raises(InputError, match=r"^space main of library toy was dropped \(it has next\)"):
        read_vectors(spark, settings, "main")
    with pytest.raises(InputError, match="no space that was active before"):
        rollback_space.run(spark, settings)

    # Another model may have the name now. Run numbers go on, so that none ever stands for two runs.
    other = space_of(settings, "main", model={"path": "fake:32"})
    again = run(spark, other)
    assert (again.counts["added"], again.run_id) == (2, "toy.main.3")
    assert width(spark, settings, "main") == {32}
    assert states(spark, settings) == {"next": "active", "main": "ready"}
    assert run(spark, other).counts["unchanged"] == 2


def test_a_space_that_is_made_anew_reads_its_source_anew(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    rows = pa.table({"id": ["a", "b"], "text": ["Owls.", "Bees."]})
    write_deltalake(source, rows, configuration={"delta.enableChangeDataFeed": "true"})
    settings = make_settings("unused", source={"format": "delta", "path": str(source)})
    following = space_of(settings, "next")
    for each in (settings, following):
        run(spark, each)
    drop_space.run(spark, settings, "next")
    write_deltalake(source, pa.table({"id": ["c"], "text": ["Elms."]}), mode="append")
    run(spark, settings)
    # The feed since its last run, before it was dropped, has only the last document.
    assert run(spark, following).counts["added"] == 3
    assert promote_space.run(spark, settings, "next").before == "main"
    # Of a source with versions, these decide.
    write_deltalake(source, pa.table({"id": ["d"], "text": ["Rooks."]}), mode="append")
    run(spark, following)
    with pytest.raises(InputError, match=r"^space main has version 1 of the source, and the active space next has ver"):
        promote_space.run(spark, settings, "main")
    assert (
        rollback_space.run(spark, settings).lag
        == "1 documents differ from those of next; source version 1 instead of 2"
    )


@pytest.mark.parametrize("point", ["spaces.before", "spaces.after"])
def test_killed_at_the_commit_of_a_promotion_exactly_one_space_is_active(
    spark: SparkSession, wide: tuple[Settings, Settings], point: str
) -> None:
    settings, _ = wide
    for job, expected in (
        (lambda: promote_space.run(spark, settings, "next"), ("main", "next")),
        (lambda: rollback_space.run(spark, settings), ("next", "main")),
    ):
        with at((point, 1), crash), pytest.raises(SimulatedCrash):
            job()
        active = [name for name, state in states(spark, settings).items() if state == "active"]
        assert active == [expected[point == "spaces.after"]]
        assert width(spark, settings) == {16 if active == ["next"] else 8}
        if point == "spaces.before":
            job()


@pytest.mark.parametrize("point", ["runs.after", "spaces.before", "spaces.after", "drop.before", "drop.after"])
def test_killed_while_a_space_is_removed_it_is_whole_or_gone(
    spark: SparkSession, wide: tuple[Settings, Settings], tmp_path: Path, point: str
) -> None:
    settings, following = wide
    export_library.run(spark, settings, f"parquet:{tmp_path / 'out'}", space="next")
    with at((point, 1), crash), pytest.raises(SimulatedCrash):
        drop_space.run(spark, settings, "next")
    is_dropped = point not in ("runs.after", "spaces.before")
    assert ("next" in states(spark, settings)) != is_dropped
    assert width(spark, settings) == {8}
    is_left = (Path(str(settings.store.path)) / "toy" / "next").exists()
    assert is_left == (point in ("runs.after", "spaces.before", "spaces.after", "drop.before"))
    if is_dropped and is_left:
        with pytest.raises(
            InputError, match=r"was dropped, but not all of it is removed yet\. Run embedlake drop --sp"
        ):
            run(spark, following)
    if not is_dropped or is_left:
        drop_space.run(spark, settings, "next")
    assert run(spark, following).counts["added"] == 2
    assert width(spark, settings, "next") == {16}


def test_of_two_changes_at_once_one_is_refused(spark: SparkSession, wide: tuple[Settings, Settings]) -> None:
    settings, _ = wide
    run(spark, space_of(settings, "third"))
    with delta_session(spark):
        seen = read_registry(spark, settings)
        switch_active(spark, settings, seen, seen.find("next"), "promoted")
        for name in ("third", "main"):
            with pytest.raises(RunActiveError, match=r"another process changed the spaces of library toy meanwhile"):
                switch_active(spark, settings, seen, seen.find(name), "promoted")
    assert states(spark, settings) == {"main": "retired", "next": "active", "third": "ready"}


def test_in_a_catalog_the_view_follows_and_a_number_is_taken_once(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    place = {"path": None, "catalog": "spark_catalog", "schema": "default"}
    main = make_settings(write_json(OWLS_AND_BEES), library="moved", store=place)
    following = space_of(main, "next", model={"path": "fake:16"})
    run(spark, main)
    run(spark, following)

    def of_view() -> set[int]:
        with delta_session(spark):
            return {len(row.embedding) for row in spark.table("spark_catalog.default.moved__vectors").collect()}

    assert of_view() == {8}
    promote_space.run(spark, main, "next")
    assert of_view() == {16}
    with at(("spaces.after", 1), crash), pytest.raises(SimulatedCrash):
        rollback_space.run(spark, main)
    # Killed between the commit and the view: the same again puts it right.
    assert (of_view(), width(spark, main)) == ({16}, {8})
    promote_space.run(spark, main, "main")
    assert of_view() == {8}
    with delta_session(spark):
        seen, tables = read_registry(spark, main), space_tables(spark, main)
        rows = [changed(seen.row, change="promoted", library="moved", number=5, changed_by=who) for who in ("a", "b")]
        _commit(tables, rows[:1], {"library": "moved", "number": 5, "changed_by": "a"})
        # Delta skips a commit under a number that it has seen, and says nothing.
        with pytest.raises(RunActiveError, match=r"changed the spaces of library moved at the same moment"):
            _commit(tables, rows[1:], {"library": "moved", "number": 5, "changed_by": "b"})
    drop_space.run(spark, main, "next", force=True)
    assert not spark.catalog.tableExists("spark_catalog.default.moved__next__vectors")
    assert run(spark, following).counts["added"] == 2


def test_many_changes_stay_few_files(
    spark: SparkSession, wide: tuple[Settings, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = wide
    monkeypatch.setattr("spark_jobs.store.registry._CHANGES_A_FILE", 10)
    with delta_session(spark):
        seen = read_registry(spark, settings)
        for number in range(3, 11):
            row = changed(seen.row, library="toy", number=number, change="registered", changed_at=datetime.now(UTC))
            _commit(space_tables(spark, settings), [row], {"library": "toy", "number": number})
        assert read_registry(spark, settings).number == 10
    table = DeltaTable(Path(str(settings.store.path), "_embedlake", SPACES.name))
    assert len(table.file_uris()) == 1
    assert len(registry_of(settings)) == 10


def test_spaces_are_evaluated_by_name(
    spark: SparkSession, wide: tuple[Settings, Settings], judged: dict[str, str], tmp_path: Path
) -> None:
    settings, _ = wide
    Path(judged["judgements"]).write_text("q1\ta\t1\nq2\tb\t1\n")
    files_of = {key: Path(value) for key, value in judged.items()}
    promote_space.run(spark, settings, "next")
    found = [evaluate(spark, settings, **files_of, space=space) for space in (None, "main")]
    assert [one.scores.space for one in found] == ["toy.next", "toy.main"]
