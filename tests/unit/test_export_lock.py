"""The lock of a target, against another holder."""

from pathlib import Path

import pytest

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


def test_a_target_has_one_export_at_a_time_and_others_have_theirs(tmp_path: Path) -> None:
    settings = settings_of({"path": str(tmp_path / "lake")})
    name = "postgresql://localhost/db#" + 'public."a/b' * 40
    with locks.export_lock(settings, name), locks.export_lock(settings, "parquet:/out"):
        told = "another process on this machine exports to postgresql://"
        with pytest.raises(RunActiveError, match=told) as caught, locks.export_lock(settings, name):
            pytest.fail("two exports to one target")
        assert caught.value.exit_code == 4
    with locks.export_lock(settings, name):
        pass


def test_a_store_in_a_catalog_needs_no_folder_for_locks(tmp_path: Path) -> None:
    with locks.export_lock(settings_of({"catalog": "main", "schema": "retrieval"}), "parquet:/out"):
        assert not list(tmp_path.iterdir())
