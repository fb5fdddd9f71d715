"""Locks of a space, a store and a target exclude another holder."""

from pathlib import Path

import pytest
from filelock import FileLock

from schemas.errors import RunActiveError
from spark_jobs.settings import Settings, as_settings
from spark_jobs.store import locks


def settings_of(store: dict[str, str]) -> Settings:
    return as_settings(
        {
            "library": "toy",
            "store": store,
            "source": {"format": "json", "path": "documents", "id_column": "id", "text_columns": ["text"]},
            "model": {"path": "fake:8"},
        }
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of({"path": str(tmp_path / "lake")})


def _held(settings: Settings, name: str) -> FileLock:
    folder = Path(str(settings.store.path)) / "_embedlake" / "locks"
    folder.mkdir(parents=True)
    return FileLock(folder / f"{name}.lock")


def test_a_space_has_one_holder(settings: Settings) -> None:
    with (
        _held(settings, "toy__main"),
        pytest.raises(RunActiveError, match=r"is working on space toy\.main"),
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


def test_waiting_for_a_process_paused_in_a_commit_times_out_and_names_it(
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


def test_each_target_has_one_export_at_a_time(settings: Settings) -> None:
    name = "postgresql://localhost/db#" + 'public."a/b' * 40
    with locks.export_lock(settings, name), locks.export_lock(settings, "parquet:/out"):
        told = "another process on this machine is exporting to postgresql://"
        with pytest.raises(RunActiveError, match=told) as caught, locks.export_lock(settings, name):
            pytest.fail("two exports to one target")
        assert caught.value.exit_code == 4
    with locks.export_lock(settings, name):
        pass


@pytest.mark.parametrize(
    "path", ["dbfs:/lake", "hdfs:/lake", "s3a:/lake", "abfss:/lake", "gs:/lake", "dbfs:///lake", "s3a://bucket/lake"]
)
def test_a_store_elsewhere_needs_no_folder_for_locks(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = settings_of({"path": path})
    assert not elsewhere.store.is_local
    with locks.space_lock(elsewhere), locks.space_lock(elsewhere), locks.store_lock(elsewhere):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("prefix", ["", "file:", "file://", "FILE:"])
def test_a_local_store_has_one_lock_however_its_path_is_written(prefix: str, tmp_path: Path) -> None:
    written, plain = (settings_of({"path": f"{start}{tmp_path}/a://b"}) for start in (prefix, ""))
    with locks.space_lock(plain), pytest.raises(RunActiveError), locks.space_lock(written):
        pytest.fail("two processes hold one space")


def test_a_store_in_a_catalog_needs_no_folder_for_locks(tmp_path: Path) -> None:
    with locks.export_lock(settings_of({"catalog": "main", "schema": "retrieval"}), "parquet:/out"):
        assert not list(tmp_path.iterdir())
