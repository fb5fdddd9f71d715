"""Locks of a store on a local path, against another holder."""

from pathlib import Path

import pytest
from filelock import FileLock

from schemas.errors import RunActiveError
from spark_jobs.settings import Settings, as_settings
from spark_jobs.store import locks


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return as_settings(
        {
            "library": "toy",
            "store": {"path": str(tmp_path / "lake")},
            "source": {"format": "json", "path": "documents", "id_column": "id", "text_columns": ["text"]},
            "model": {"path": "fake:8"},
        }
    )


def _held(settings: Settings, name: str) -> FileLock:
    folder = Path(str(settings.store.path)) / "_embedlake" / "locks"
    folder.mkdir(parents=True)
    return FileLock(folder / f"{name}.lock")


def test_a_space_has_one_holder(settings: Settings) -> None:
    with (
        _held(settings, "toy__main"),
        pytest.raises(RunActiveError, match=r"works on space toy\.main"),
        locks.space_lock(settings),
    ):
        pytest.fail("two processes hold one space")


def test_a_space_can_be_taken_from_its_holder_and_is_then_held(settings: Settings) -> None:
    with (
        _held(settings, "toy__main"),
        locks.space_lock(settings, take_over=True),
        pytest.raises(RunActiveError),
        locks.space_lock(settings),
    ):
        pytest.fail("two processes hold one space")
    with locks.space_lock(settings):
        pass


def test_a_process_that_is_paused_in_a_commit_is_named_and_not_waited_for_without_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_APPEND_SECONDS", 0.1)
    with (
        _held(settings, "store") as lock,
        pytest.raises(RunActiveError, match="paused or hangs") as caught,
        locks.store_lock(settings),
    ):
        pytest.fail("two processes commit to one table")
    assert str(lock.lock_file) in str(caught.value)
    with locks.store_lock(settings):
        pass
