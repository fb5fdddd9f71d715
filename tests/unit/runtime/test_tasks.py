"""How far a job is, by finished tasks and by what its tasks have counted."""

import os
from pathlib import Path

import pytest

from spark_jobs.runtime.tasks import share_done
from udfs.inference.meter import Meter
from udfs.inference.token_file import TellingMeter, read_counts, task_meter


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    path = tmp_path / "counts"
    path.touch()
    return path


def test_each_task_counts_its_own_tokens(counts: Path) -> None:
    second, first = task_meter(counts, 1), task_meter(counts, 0)
    second.add(passes=1, tokens=300)
    assert read_counts(counts) == [0, 300]
    first.add(passes=1, tokens=5)
    first.add(forward=0.5)
    second.add(passes=1, tokens=70_000)
    assert read_counts(counts) == [5, 70_300]
    # It counts what every meter does.
    assert (second.take()["tokens"], second.take()["tokens"]) == (70_300, 0)
    assert read_counts(counts) == [5, 70_300]
    # A task that is tried again begins anew.
    task_meter(counts, 1).add(tokens=2)
    assert read_counts(counts) == [5, 2]


def test_without_a_file_nothing_is_told_and_none_is_made(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    (tmp_path / "link").symlink_to(target)
    for path in (None, tmp_path / "none", tmp_path / "link"):
        assert type(task_meter(path, 0)) is Meter
    assert not (tmp_path / "none").exists()


def test_a_meter_closes_its_file(counts: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    meter = task_meter(counts, 0)
    assert isinstance(meter, TellingMeter) and len(os.listdir("/proc/self/fd")) == before + 1
    del meter
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("counted", "finished", "tasks", "expected", "share"),
    [
        ([], 0, 2, 0, 0.0),
        ([], 1, 2, 0, 0.0),
        # No task has finished: the tokens that the job is expected to have.
        ([100, 50], 0, 2, 600, 0.25),
        # One has: all are taken for as large as that one.
        ([300, 150], 1, 2, 9_999, 0.75),
        ([300, 0, 150], 1, 3, 9_999, 0.5),
        # More than expected.
        ([700, 50], 0, 2, 600, 0.99),
        ([300, 300], 2, 2, 1, 0.99),
    ],
)
def test_the_share_of_a_job_that_is_done(
    counts: Path, counted: list[int], finished: int, tasks: int, expected: int, share: float
) -> None:
    for task, tokens in enumerate(counted):
        task_meter(counts, task).add(tokens=tokens)
    assert share_done(counts, finished, tasks, expected) == pytest.approx(share)


def test_without_counts_tasks_are_all_that_is_known() -> None:
    assert [share_done(None, finished, 4, 1_000) for finished in (0, 1, 4)] == [0.0, 0.25, 1.0]
