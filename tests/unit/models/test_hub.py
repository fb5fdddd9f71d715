"""Resolving the name of a model to a folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError
from tests.support.model_folders import (
    COMMIT,
)
from tests.support.paths import ROOT
from udfs.models.hub import resolve_model_folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A stand-in for the hub's client that records what is asked of it."""
    import huggingface_hub

    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append({"name": name, **options})
        return "/cache/snapshot"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    yield calls


def test_a_folder_is_used_as_is(folder: Path, hub: list[dict[str, Any]]) -> None:
    assert resolve_model_folder(str(folder), None) == folder
    assert hub == []


def test_a_folder_that_looks_like_a_hub_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[dict[str, Any]]
) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model_folder("owner/name", None) == Path("owner/name")
    with pytest.raises(InputError, match="has no revision"):
        resolve_model_folder("owner/name", COMMIT)
    assert hub == []


def test_a_hub_name_is_fetched_at_its_commit_and_only_what_is_read(hub: list[dict[str, Any]]) -> None:
    assert resolve_model_folder("owner/name", COMMIT) == Path("/cache/snapshot")
    (call,) = hub
    assert (call["name"], call["revision"]) == ("owner/name", COMMIT)
    assert {Path(pattern).suffix for pattern in call["allow_patterns"]} == {
        ".safetensors",
        ".json",
        ".txt",
        ".model",
        ".vocab",
    }


@pytest.mark.parametrize(
    "revision", [None, "", "main", "v1.0", COMMIT[:7], COMMIT.upper(), COMMIT + "\n", COMMIT + "0"]
)
def test_a_hub_name_needs_a_full_commit_id(revision: str | None, hub: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="not a full commit id"):
        resolve_model_folder("owner/name", revision)
    assert hub == []


@pytest.mark.parametrize(
    "path", ["", "name", "./a/b", "../b", "/no/such", "~/model", "a/b/c", "a b/c", "a/b\n", ".a/b", "s3://a/b"]
)
def test_a_path_that_is_neither_folder_nor_hub_name_is_refused(path: str, hub: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="is neither a folder nor a hub name"):
        resolve_model_folder(path, COMMIT)
    assert hub == []


def failing(error: Exception) -> Callable[..., str]:
    def snapshot_download(name: str, **options: Any) -> str:
        raise error

    return snapshot_download


def test_every_failure_of_the_hub_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    causes: list[tuple[type[Exception], str]] = [
        (errors.RevisionNotFoundError, "has no commit"),
        (errors.RepositoryNotFoundError, "HF_TOKEN"),
        (errors.GatedRepoError, "HF_TOKEN"),
        (errors.LocalEntryNotFoundError, "HF_HUB_OFFLINE"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE"),
        (errors.HFValidationError, "could not be fetched"),
        (ConnectionError, "Check network"),
        (OSError, "Check network"),
        (RuntimeError, "Check network"),
    ]
    for cause, words in causes:
        error = cause.__new__(cause, "secret\nlines")
        monkeypatch.setattr(huggingface_hub, "snapshot_download", failing(error))
        with pytest.raises(InputError, match=words) as caught:
            resolve_model_folder("owner/name", COMMIT)
        assert "\n" not in str(caught.value)


def test_offline_without_a_cache_is_an_input_error(tmp_path: Path) -> None:
    code = (
        "from udfs.models.hub import resolve_model_folder; from schemas.errors import InputError\n"
        "try:\n    resolve_model_folder('owner/name', 'a' * 40)\nexcept InputError as error:\n    print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert "HF_HUB_OFFLINE is set" in ran.stdout
