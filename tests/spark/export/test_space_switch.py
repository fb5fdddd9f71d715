"""Exports to a target whose library changes to another space, in real tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError, RunActiveError
from schemas.exports import COMPARISON, EXPORTS, FULL, INCREMENTAL
from schemas.runs import FINISHED, STARTED
from spark_jobs.export import rows as arrow_stream
from spark_jobs.export.difference import held_tables
from spark_jobs.export.report import ExportReport
from spark_jobs.export_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.tables import delta_session
from tests.support.space import Space

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
Row = dict[str, Any]


def exported(folder: Path) -> list[Row]:
    rows = ds.dataset(folder, format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: str(row["chunk_id"]))


def told(report: ExportReport) -> tuple[str, int, int, str | None]:
    return report.plan.partition(":")[0], report.sent, report.removed, report.replaced


@pytest.fixture
def main(spark: SparkSession, make_settings: MakeSettings) -> Space:
    space = Space(spark, make_settings("unused"))
    space.put({name: 1 for name in "abcd"})
    return space


@pytest.fixture
def wide(spark: SparkSession, make_settings: MakeSettings, main: Space) -> Space:
    """Another space of the same library, with longer vectors and one payload column less."""
    settings = make_settings("unused", space="wide", model={"path": "fake:16"})
    space = Space(spark, settings, payload=main.payload[:-1])
    space.put({name: 2 for name in "cdef"})
    return space


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_the_next_export_switches_the_target_and_later_ones_go_on(
    spark: SparkSession, main: Space, wide: Space, out: Path
) -> None:
    to = f"parquet:{out}"
    assert told(run(spark, main.settings, to, space="main")) == (FULL, 4, 0, None)
    dry = run(spark, main.settings, to, space="wide", dry_run=True)
    assert told(dry) == (FULL, 4, 0, "toy.main")
    assert "would be switched from space toy.main to space toy.wide" in str(dry)
    assert exported(out) == main.stored()

    switched = run(spark, main.settings, to, space="wide")
    assert told(switched) == (FULL, 4, 0, "toy.main") and switched.recall == 1.0
    assert switched.plan == "full: the target holds the rows of space toy.main"
    assert "switched from space toy.main to space toy.wide" in str(switched)
    assert exported(out) == wide.stored()
    wide.put({"g": 1})
    wide.drop("c")
    assert told(run(spark, main.settings, to, space="wide")) == (INCREMENTAL, 1, 1, None)
    # The record of the first space still says that its last export finished, with as many rows as there are now.
    assert told(run(spark, main.settings, to, space="main", dry_run=True)) == (FULL, 4, 0, "toy.wide")
    assert [number for number, event, *_ in main.events() if event == FINISHED] == [1, 2, 3]


def test_a_switch_to_a_space_that_is_empty_again_removes_the_other_rows(
    spark: SparkSession, main: Space, wide: Space, out: Path
) -> None:
    to = f"parquet:{out}"
    wide.drop(*"cdef")
    run(spark, main.settings, to, space="wide")
    run(spark, main.settings, to, space="main")
    # The last export of this space finished, and there is no row to send.
    assert told(run(spark, main.settings, to, space="wide")) == (FULL, 0, 0, "toy.main")
    assert exported(out) == []
    assert [number for number, event, *_ in main.events() if event == FINISHED] == [1, 2, 3]


@pytest.mark.parametrize("where", ["export.batch:3:raise", "export.finish:1:raise"])
def test_a_switch_that_is_killed_is_made_by_the_next_export(
    spark: SparkSession, main: Space, wide: Space, out: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    to = f"parquet:{out}"
    run(spark, main.settings, to, space="main")
    monkeypatch.setattr(arrow_stream, "_PACKED_BYTES", 1)
    monkeypatch.setenv("TEST_FAILPOINT", where)
    with pytest.raises(SimulatedCrash):
        run(spark, main.settings, to, space="wide")
    monkeypatch.delenv("TEST_FAILPOINT")
    assert exported(out) == main.stored()
    assert [event for _, event, *_ in main.events()] == [STARTED, FINISHED, STARTED]
    # The old rows were not touched, so their space's next export need not compare.
    assert told(run(spark, main.settings, to, space="main")) == (INCREMENTAL, 0, 0, None)
    assert told(run(spark, main.settings, to, space="wide")) == (FULL, 4, 0, "toy.main")
    assert exported(out) == wide.stored()
    assert sorted(path.name for path in out.parent.iterdir() if "embedlake-" in path.name) == []


def test_a_target_that_was_moved_is_known_by_its_table(
    spark: SparkSession, main: Space, wide: Space, out: Path
) -> None:
    run(spark, main.settings, f"parquet:{out}", space="main")
    moved = out.rename(out.parent / "moved")
    assert told(run(spark, main.settings, f"parquet:{moved}", space="wide")) == (FULL, 4, 0, "toy.main")
    assert exported(moved) == wide.stored()


def test_rows_of_another_store_or_library_are_refused_and_stay(
    spark: SparkSession, main: Space, wide: Space, make_settings: MakeSettings, out: Path
) -> None:
    to = f"parquet:{out}"
    elsewhere = Space(spark, make_settings("unused", store={"path": str(out.parent / "elsewhere")}))
    elsewhere.put({name: 3 for name in "xy"})
    run(spark, elsewhere.settings, to)
    # This store's record knows main as well, but not that table of main.
    run(spark, main.settings, f"parquet:{out.parent}/known", space="main")
    for full in (False, True):
        with pytest.raises(InputError, match=r"belongs to `embedlake toy\.main`, of which this store has no export"):
            run(spark, main.settings, to, space="wide", full=full)
    other = Space(spark, make_settings("unused", library="other"))
    with pytest.raises(InputError, match=r"belongs to `embedlake toy\.main`, not to `embedlake other\.main`"):
        run(spark, other.settings, to)
    assert exported(out) == elsewhere.stored()


def test_exports_of_two_spaces_to_a_target_notice_each_other(
    spark: SparkSession, main: Space, wide: Space, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"parquet:{out}"
    run(spark, main.settings, to, space="main")

    def other_begins(_name: str) -> None:
        monkeypatch.undo()
        with delta_session(spark):
            newest = main.tables.read(EXPORTS.name).where("space = 'wide'").localCheckpoint()
            elsewhere = newest.selectExpr(
                *("'main' AS space" if name == "space" else name for name in newest.columns if name != "owner"),
                "'elsewhere:1:abcd' AS owner",
            )
            main.tables.append(elsewhere.select(newest.columns), EXPORTS)

    monkeypatch.setattr(arrow_stream, "failpoint", other_begins)
    with pytest.raises(RunActiveError, match=r"\(elsewhere:1:abcd\) began"):
        run(spark, main.settings, to, space="wide")
    assert told(run(spark, main.settings, to, space="wide"))[0] == COMPARISON


def test_tables_of_comparisons_are_those_of_their_own_space(
    spark: SparkSession, main: Space, wide: Space, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"parquet:{out}"
    run(spark, main.settings, to, space="main")
    run(spark, main.settings, to, space="wide")
    wide.put({"z": 1})
    monkeypatch.setenv("TEST_FAILPOINT", "export.batch:1:raise")
    with pytest.raises(SimulatedCrash):
        run(spark, main.settings, to, space="wide")
    monkeypatch.delenv("TEST_FAILPOINT")
    assert told(run(spark, main.settings, to, space="wide"))[0] == COMPARISON
    with delta_session(spark):
        assert (len(held_tables(main.tables)), len(held_tables(wide.tables))) == (0, 1)
