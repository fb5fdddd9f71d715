"""Exports of small tables to real folders: what is sent, what is removed, and what remains after a crash or a gap."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError, ReconciliationError, RunActiveError
from schemas.exports import COMPARISON, EXPORTS, FULL, INCREMENTAL
from schemas.runs import FINISHED, STARTED
from spark_jobs import maintain_space
from spark_jobs.embed_library import run as embed
from spark_jobs.export import rows as arrow_stream
from spark_jobs.export.report import ExportReport
from spark_jobs.export_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.spaces import registered
from spark_jobs.store.tables import delta_session, space_tables
from spark_jobs.targets.factory import open_target
from tests.support.space import Space
from tests.support.template import OWLS_AND_BEES

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
Row = dict[str, Any]


def exported(folder: Path) -> list[Row]:
    rows = ds.dataset(folder, format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: str(row["chunk_id"]))


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def told(report: ExportReport) -> tuple[str, int, int]:
    return report.plan.partition(":")[0], report.sent, report.removed


@pytest.fixture
def space(spark: SparkSession, make_settings: MakeSettings) -> Space:
    return Space(spark, make_settings("unused"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_first_everything_then_nothing_then_what_changed(spark: SparkSession, space: Space, out: Path) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcdefgh"})
    first = run(spark, space.settings, to)
    assert told(first) == (FULL, 8, 0) and first.recall == 1.0 and first.rows == 8
    assert exported(out) == space.stored()

    before = state_of(out)
    again = run(spark, space.settings, to)
    assert told(again) == (INCREMENTAL, 0, 0) and again.recall is None
    assert "nothing to send and nothing to remove" in str(again)
    assert state_of(out) == before
    assert space.events() == [(1, STARTED, None, None, None), (1, FINISHED, 8, 0, 8)]

    # x is added and removed, g is removed and added back, a and b get new payload, c and d are removed, i is added.
    space.put({"x": 1, "a": 2, "i": 1})
    space.drop("x", "c", "g")
    space.put({"b": 2, "g": 1, "a": 3})
    space.drop("d")
    dry = run(spark, space.settings, to, dry_run=True)
    assert told(dry) == (INCREMENTAL, 4, 2) and dry.is_dry
    assert state_of(out) == before and len(space.events()) == 2
    third = run(spark, space.settings, to)
    assert told(third) == (INCREMENTAL, 4, 2)
    assert exported(out) == space.stored()
    assert space.events()[2:] == [(2, STARTED, None, None, None), (2, FINISHED, 4, 2, 7)]


def test_a_target_that_was_left_half_done_is_compared(
    spark: SparkSession, space: Space, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcdef"})
    run(spark, space.settings, to)
    space.put({"a": 2, "b": 2, "g": 1, "h": 1})
    space.drop("c")
    # One row per batch, so that the export can be killed in the middle.
    monkeypatch.setattr(arrow_stream, "_PACKED_BYTES", 1)
    monkeypatch.setenv("TEST_FAILPOINT", "export.batch:3:raise")
    with pytest.raises(SimulatedCrash):
        run(spark, space.settings, to)
    monkeypatch.delenv("TEST_FAILPOINT")
    assert space.events()[-1] == (2, STARTED, None, None, None)
    assert {row["doc_id"] for row in exported(out)} == set("abcdef")

    dry = run(spark, space.settings, to, dry_run=True)
    assert told(dry) == (COMPARISON, 4, 1)
    back = run(spark, space.settings, to)
    assert told(back) == (COMPARISON, 4, 1) and "the last export did not finish" in back.plan
    assert exported(out) == space.stored()
    assert told(run(spark, space.settings, to)) == (INCREMENTAL, 0, 0)


def test_rows_that_got_through_before_a_crash_are_not_sent_again(
    spark: SparkSession, space: Space, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcd"})
    monkeypatch.setenv("TEST_FAILPOINT", "export.batch:1:raise")
    with pytest.raises(SimulatedCrash):
        run(spark, space.settings, to)
    monkeypatch.delenv("TEST_FAILPOINT")
    # A server that accepts rows one by one would now contain two of the rows.
    whole = out.parent / "whole"
    run(spark, space.settings, f"parquet:{whole}")
    leave_only(spark, space, whole, out, {"a", "b"})
    report = run(spark, space.settings, to)
    assert told(report) == (COMPARISON, 2, 0)
    assert exported(out) == space.stored()


def leave_only(spark: SparkSession, space: Space, whole: Path, out: Path, names: set[str]) -> None:
    from spark_jobs.export.rows import row_format_of
    from spark_jobs.store.open_space import open_space

    with delta_session(spark):
        shape = row_format_of(open_space(spark, space.settings))
    rows = ds.dataset(whole, format="parquet").to_table(filter=ds.field("doc_id").isin(sorted(names)))
    target = open_target(f"parquet:{out}")
    target.prepare(shape, full=False)
    target.send(rows.cast(shape.rows).to_batches())
    target.finish()
    target.close()


def test_a_gap_in_the_feed_is_compared_and_named(spark: SparkSession, space: Space, out: Path) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcde"})
    run(spark, space.settings, to)
    spark.sql(f"ALTER TABLE {space.name} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'false')")
    space.put({"a": 2, "f": 1})
    space.drop("b")
    spark.sql(f"ALTER TABLE {space.name} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')")
    report = run(spark, space.settings, to)
    assert told(report) == (COMPARISON, 2, 1)
    assert "the change feed since version" in report.plan and "cannot be read" in report.plan
    assert exported(out) == space.stored()
    space.put({"c": 2})
    assert told(run(spark, space.settings, to)) == (INCREMENTAL, 1, 0)


def test_a_feed_whose_files_are_gone_is_found_before_anything_is_sent(
    spark: SparkSession, space: Space, out: Path
) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcde"})
    run(spark, space.settings, to)
    space.put({"a": 2, "b": 2})
    gone = list(space.folder.joinpath("_change_data").glob("*.parquet"))
    assert gone
    for path in gone:
        path.unlink()
    report = run(spark, space.settings, to)
    assert told(report) == (COMPARISON, 2, 0), report.plan
    assert exported(out) == space.stored()


def test_rows_of_another_store_with_the_same_names_are_replaced_only_when_asked(
    spark: SparkSession, space: Space, make_settings: MakeSettings, out: Path
) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcd"})
    run(spark, space.settings, to)
    # Another store, or one made anew: its runs have the same numbers, but its rows have different payload.
    anew = Space(spark, make_settings("unused", store={"path": str(out.parent / "anew")}))
    anew.put({name: 5 for name in "abc"})
    with pytest.raises(InputError, match=r"has the rows of another table, .*Export with --full"):
        run(spark, anew.settings, to)
    assert exported(out) == space.stored()
    assert told(run(spark, anew.settings, to, full=True)) == (FULL, 3, 0)
    assert exported(out) == anew.stored()
    assert told(run(spark, anew.settings, to)) == (INCREMENTAL, 0, 0)


def test_a_target_that_somebody_else_took_rows_from_is_mended(spark: SparkSession, space: Space, out: Path) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abcd"})
    run(spark, space.settings, to)
    whole = out.rename(out.parent / "whole")
    leave_only(spark, space, whole, out, {"a", "d"})
    report = run(spark, space.settings, to)
    assert told(report) == (COMPARISON, 2, 0)
    assert "the target holds 2 rows, and the last export left 4" in report.plan
    assert exported(out) == space.stored()


def test_full_sends_everything_again(spark: SparkSession, space: Space, out: Path) -> None:
    to = f"parquet:{out}"
    space.put({name: 1 for name in "abc"})
    run(spark, space.settings, to)
    space.drop("a")
    assert told(run(spark, space.settings, to, full=True, dry_run=True)) == (FULL, 2, 0)
    assert told(run(spark, space.settings, to, full=True)) == (FULL, 2, 0)
    assert exported(out) == space.stored()


def test_an_empty_library_and_its_first_rows(spark: SparkSession, space: Space, out: Path) -> None:
    to = f"parquet:{out}"
    report = run(spark, space.settings, to)
    assert told(report) == (FULL, 0, 0) and report.recall is None
    assert exported(out) == []
    assert told(run(spark, space.settings, to)) == (FULL, 0, 0)
    space.put({"a": 1})
    assert told(run(spark, space.settings, to)) == (FULL, 1, 0)
    space.drop("a")
    assert told(run(spark, space.settings, to)) == (INCREMENTAL, 0, 1)
    assert exported(out) == []


def test_a_dry_run_of_the_first_export_makes_nothing(spark: SparkSession, space: Space, out: Path) -> None:
    space.put({"a": 1, "b": 1})
    before = sorted(Path(str(space.settings.store.path)).rglob("*"))
    report = run(spark, space.settings, f"parquet:{out}", dry_run=True)
    assert told(report) == (FULL, 2, 0)
    assert not out.exists()
    assert sorted(Path(str(space.settings.store.path)).rglob("*")) == before


def test_an_unknown_space_is_refused_and_the_known_ones_named(
    spark: SparkSession, space: Space, make_settings: MakeSettings, out: Path
) -> None:
    with pytest.raises(InputError, match=r"library toy has no space other \(it has main\)"):
        run(spark, make_settings("unused"), f"parquet:{out}", space="other")
    with pytest.raises(InputError, match=r"library new has no space main \(no run has written to it yet\)"):
        run(spark, make_settings("unused", library="new"), f"parquet:{out}")
    assert not out.exists()


def test_a_broken_embedding_ends_the_export_before_the_target_shows_it(
    spark: SparkSession, space: Space, out: Path
) -> None:
    to = f"parquet:{out}"
    space.put({"a": 1, "b": 1})
    run(spark, space.settings, to)
    space.put({"c": 1}, lambda name: space.vector(name)[:-1])
    with pytest.raises(InputError, match=r"do not have 8 numbers\. Run embedlake verify --repair"):
        run(spark, space.settings, to)
    assert {row["doc_id"] for row in exported(out)} == {"a", "b"}
    space.put({"c": 2})
    assert told(run(spark, space.settings, to)) == (COMPARISON, 1, 0)
    assert exported(out) == space.stored()


def test_a_count_that_differs_at_the_end_is_said_and_does_not_pass_for_finished(
    spark: SparkSession, space: Space, out: Path
) -> None:
    to = f"parquet:{out}"
    space.put({"a": 1, "b": 1})
    with delta_session(spark):
        copy = space.tables.read("vectors").where("doc_id = 'a'")
        space.tables.append(copy, space.table)
    with pytest.raises(ReconciliationError, match=r"holds 2 rows, but vectors of space toy\.main has 3") as caught:
        run(spark, space.settings, to)
    assert caught.value.exit_code == 6
    assert [event for _, event, *_ in space.events()] == [STARTED]


def test_an_export_that_another_machine_overlapped_is_not_finished(
    spark: SparkSession, space: Space, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, events = f"parquet:{out}", "exports"
    space.put({"a": 1, "b": 1})

    def other_begins(_name: str) -> None:
        monkeypatch.undo()
        with delta_session(spark):
            mine = space.tables.read(events).localCheckpoint()
            space.tables.append(mine.withColumn("owner", F.lit("elsewhere:1:abcd")), EXPORTS)

    monkeypatch.setattr(arrow_stream, "failpoint", other_begins)
    with pytest.raises(RunActiveError, match=r"another export to parquet:.* \(elsewhere:1:abcd\) began"):
        run(spark, space.settings, to)
    assert [event for _, event, *_ in space.events()] == [STARTED, STARTED, STARTED]
    report = run(spark, space.settings, to)
    assert told(report) == (COMPARISON, 0, 0)
    assert space.events()[-1][:2] == (3, FINISHED)


def test_bytes_are_sent_as_float32(spark: SparkSession, make_settings: MakeSettings, out: Path) -> None:
    ranges = (tuple([-1.0] * 8), tuple([1.55] * 8))
    settings = make_settings("unused", model={"path": "fake:8", "precision": "int8"})
    space = Space(spark, settings, ranges=ranges)
    space.put({name: 1 for name in "abc"}, lambda name: [ord(name) - 97] * 7 + [-128])
    report = run(spark, space.settings, f"parquet:{out}")
    assert told(report) == (FULL, 3, 0) and report.recall == 1.0
    found = {row["doc_id"]: row["embedding"] for row in exported(out)}
    for name in "abc":
        np.testing.assert_allclose(found[name], [-1 + (ord(name) - 97 + 128.5) / 100] * 7 + [-0.995], rtol=1e-6)


def test_rows_in_several_answers_come_once_each_and_the_session_stays_as_it_was(
    spark: SparkSession, space: Space, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.put({f"d{number}": number for number in range(40)})
    keys = ("spark.sql.files.maxPartitionBytes", "spark.sql.shuffle.partitions")
    before = [spark.conf.get(key, None) for key in keys]
    monkeypatch.setattr(arrow_stream, "_is_connect", lambda _rows: True)
    monkeypatch.setattr(arrow_stream, "_ANSWER_BYTES", 30_000)
    monkeypatch.setattr(arrow_stream, "_PARTITION_BYTES", 20_000)
    with delta_session(spark):
        rows = space.tables.read("vectors").select("chunk_id", "n")
        batches = list(arrow_stream.stream(rows, "chunk_id", 90_000))
    assert sorted(number for batch in batches for number in batch.column("n").to_pylist()) == list(range(40))
    assert len(batches) >= 3
    assert [spark.conf.get(key, None) for key in keys] == before


def test_maintenance_removes_the_files_of_comparisons_that_are_over(
    spark: SparkSession,
    write_json: Callable[..., str],
    make_settings: MakeSettings,
    loaded: Callable[..., Settings],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded(OWLS_AND_BEES)
    source = write_json([*OWLS_AND_BEES, {"id": "c", "text": "Elms."}])
    settings = make_settings(source, maintenance={"retention_hours": 0})
    run(spark, settings, f"parquet:{out}")
    embed(spark, settings)
    monkeypatch.setenv("TEST_FAILPOINT", "export.batch:1:raise")
    with pytest.raises(SimulatedCrash):
        run(spark, settings, f"parquet:{out}")
    monkeypatch.delenv("TEST_FAILPOINT")
    assert told(run(spark, settings, f"parquet:{out}"))[0] == COMPARISON
    (held,) = Path(str(settings.store.path), settings.library, settings.space).glob("export_held_*")
    assert list(held.glob("*.parquet"))
    maintain_space.run(spark, settings, force=True)
    assert not list(held.glob("*.parquet"))
    assert told(run(spark, settings, f"parquet:{out}")) == (INCREMENTAL, 0, 0)


def test_a_catalog_store_has_three_part_names_and_a_view_of_the_active_space(
    spark: SparkSession, write_json: Callable[..., str], make_settings: MakeSettings
) -> None:
    place = {"path": None, "catalog": "spark_catalog", "schema": "default"}
    main = make_settings(write_json([{"id": "a", "text": "Alpha."}]), library="shown", store=place)
    assert embed(spark, main).vectors == "`spark_catalog`.`default`.`shown__main__vectors`"
    assert embed(spark, main).counts["unchanged"] == 1
    Space(spark, make_settings("unused", library="shown", space="later", store=place)).put({"b": 1})
    with delta_session(spark):
        rows, table = (
            spark.table(f"spark_catalog.default.{name}") for name in ("shown__vectors", "shown__main__vectors")
        )
        assert rows.columns == table.columns
        assert [row.doc_id for row in rows.collect()] == ["a"]
    assert space_tables(spark, main).location.view == "`spark_catalog`.`default`.`shown__vectors`"


def test_a_table_in_the_place_of_the_view_is_left_alone(spark: SparkSession, make_settings: MakeSettings) -> None:
    spark.createDataFrame([(1,)], "mine int").writeTo("spark_catalog.default.taken__vectors").using("delta").create()
    place = {"path": None, "catalog": "spark_catalog", "schema": "default"}
    settings = make_settings("unused", library="taken", store=place)
    with pytest.raises(InputError, match=r"the view `spark_catalog`\.`default`\.`taken__vectors` cannot be created"):
        Space(spark, settings)
    assert spark.table("spark_catalog.default.taken__vectors").columns == ["mine"]
    with delta_session(spark):
        # The next run tries again: the space is not registered.
        assert registered(spark, settings) is None
