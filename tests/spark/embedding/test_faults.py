"""Damage during a run: the error reports it, nothing is lost, and the next run repairs everything."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError, ReconciliationError, SourceError
from spark_jobs.embed_library import run
from spark_jobs.embedding.preflight import check_store
from spark_jobs.settings import Settings, as_settings
from spark_jobs.store import claims, runs
from tests.support.refresh.machine import Machine, at
from tests.support.refresh.oracle import query

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

_DISK_BYTES = 16 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB that can be filled and made read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", "--recursive", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)


def fill(disk: Path) -> None:
    with disk.joinpath("filler").open("wb") as filler:
        try:
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        except OSError:
            return


def refused(machine: Machine, point: tuple[str, int], damage: Callable[[], None]) -> str:
    """Damages something when the run reaches a failpoint, and returns the run's error message."""
    machine.oracle.attempted(machine.library.documents)
    with at(point, damage), pytest.raises(Exception) as caught:
        machine._run(machine.spark)
    return str(caught.value)


@pytest.fixture(scope="module")
def loaded_machine(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A library that was loaded once; tests work on copies of it."""
    machine = Machine(spark, tmp_path_factory.mktemp("machine"), seed=1)
    machine.change(40)
    machine.succeed()
    assert machine.faults == [], machine.story
    return machine


# Worth its time: each kind of damage needs its own run, and a successful run must follow.
def test_a_disk_that_is_full_or_read_only_during_a_run(loaded_machine: Machine, disk: Path) -> None:
    machine = loaded_machine.copy(disk)
    machine.change(30)
    vectors = disk / "lake" / "toy" / "main" / "vectors"
    message = refused(machine, ("vectors.before", 1), lambda: make_read_only(vectors))
    assert "ead-only file system" in message, message
    subprocess.run(["umount", str(vectors)], check=True)
    # That failure could still be recorded. These two cannot, so each next run first shuts out the one before.
    for point in (("ledger.before", 1), ("staged_vectors.before", 2)):
        machine.change(30)
        message = refused(machine, point, lambda: fill(disk))
        assert "No space left" in message or "space" in message, message
        disk.joinpath("filler").unlink()
    machine.succeed()
    assert machine.faults == [], machine.story


# Worth its time: three kinds of damage, and a successful run after each.
def test_tables_that_are_damaged_or_gone(loaded_machine: Machine, tmp_path: Path) -> None:
    machine = loaded_machine.copy(tmp_path)
    space = tmp_path / "lake" / "toy" / "main"

    # A truncated commit: it is unknown what was written after it, so the run must not do anything.
    newest = sorted((space / "vectors" / "_delta_log").glob("*.json"))[-1]
    checksum = newest.with_suffix(".crc")
    whole, sum_ = newest.read_bytes(), checksum.read_bytes()
    machine.change(20)
    newest.write_bytes(whole[: len(whole) // 2])
    newest.with_name(f".{newest.name}.crc").unlink(missing_ok=True)
    assert refused(machine, ("never", 1), lambda: None)
    newest.write_bytes(whole)
    checksum.write_bytes(sum_)

    # The staged tables are deleted by hand after a crash in the middle of a slice.
    machine.change(20)
    assert machine.crash(("vectors.after", 2), slice_tokens=20)
    for table in ("plan", "staged_chunks", "staged_vectors"):
        shutil.rmtree(space / table)
    machine.succeed()
    assert machine.faults == [], machine.story

    # The record of runs is deleted by hand: run numbers continue above those in the tables.
    machine.change(20)
    shutil.rmtree(tmp_path / "lake" / "_embedlake" / "runs")
    machine.succeed()
    assert machine.faults == [], machine.story


# Worth its time: a run that crashes, the run that continues it and a run with nothing to do all read the clock.
def test_a_clock_that_is_set_back_a_year(
    loaded_machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class YearAgo(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(days=365)

    machine = loaded_machine.copy(tmp_path)
    monkeypatch.setattr(claims, "datetime", YearAgo)
    monkeypatch.setattr(runs, "datetime", YearAgo)
    machine.change(30)
    assert machine.crash(("ledger.before", 1))
    machine.change(30)
    machine.succeed()
    machine.again()
    assert machine.faults == [], machine.story


def test_a_source_that_is_rewritten_during_the_run(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings]
) -> None:
    path = write_json([{"id": f"d{n}", "text": f"Owl {n}."} for n in range(9)])
    settings = make_settings(path)
    # As many documents with other texts.
    rewritten = [{"id": f"d{n}", "text": f"Bee {n}."} for n in range(9)]
    with at(("runs.after", 1), lambda: write_json(rewritten) and None), pytest.raises(ReconciliationError) as caught:
        run(spark, settings)
    assert "the source has changed since" in str(caught.value)
    report = run(spark, settings, allow_removals=True)
    assert report.counts["library_embedded"] == 9
    texts = query(Path(str(settings.store.path), "toy", "main", "vectors"), "select text from t order by text")
    assert [row["text"] for row in texts] == [f"Bee {n}." for n in range(9)]


def test_a_schema_that_changes_between_runs(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings]
) -> None:
    good = [{"id": f"d{n}", "text": f"Owl {n}.", "n": n} for n in range(5)]
    settings = make_settings(write_json(good), source={"payload_columns": ["n"]})
    run(spark, settings)
    changed = [
        ("no column 'text', which source.text_columns names", [{"id": d["id"], "n": d["n"]} for d in good]),
        ("Its columns are 'TEXT'", [{"id": d["id"], "TEXT": d["text"], "n": d["n"]} for d in good]),
        ("text column 'text' is bigint", [{**d, "text": 7} for d in good]),
        ("id column 'id' is double", [{**d, "id": d["n"] + 0.5} for d in good]),
        ("column n", [{**d, "n": "seven"} for d in good]),
    ]
    for message, documents in changed:
        write_json(documents)
        with pytest.raises(SourceError) as caught:
            run(spark, settings)
        assert message in str(caught.value)
        assert caught.value.exit_code == 5
    write_json(good)
    assert run(spark, settings).counts["unchanged"] == 5


@pytest.mark.parametrize(
    ("source", "store", "apart"),
    [
        ("/lake/handbook", "/lake", False),
        ("/lake", "/lake", False),
        ("/data", "/data/lake", False),
        ("/data/../lake/x", "/lake", False),
        ("file:/lake/x", "/lake", False),
        ("/lake2", "/lake", True),
        ("/data/books", "/data/lake", True),
        ("s3a://bucket/lake/x", "s3a://bucket/lake", False),
        ("s3://bucket/lake", "s3a://bucket/lake", False),
        ("s3a://other/lake", "s3a://bucket/lake", True),
        ("file:///lake/x", "/lake", False),
        ("dbfs:/lake/x", "dbfs:///lake", False),
        ("dbfs:/lake", "/lake", True),
        ("/dbfs:/lake", "dbfs:/lake", True),
        ("hdfs:/lake/x", "hdfs://server:8020/lake", False),
        ("hdfs://Server/lake", "hdfs://server/lake", False),
        ("abfss://docs@account.example/lake", "abfs://docs@account.example/lake", False),
        ("gs:/lake/x", "hdfs:/lake", True),
    ],
)
def test_source_and_store_lie_apart(source: str, store: str, apart: bool) -> None:
    settings = as_settings(
        {
            "library": "toy",
            "store": {"path": store},
            "source": {"format": "delta", "path": source, "id_column": "id", "text_columns": ["text"]},
            "model": {"path": "fake:8"},
        }
    )
    if apart:
        check_store(settings)
        return
    with pytest.raises(InputError, match="overlap"):
        check_store(settings)
