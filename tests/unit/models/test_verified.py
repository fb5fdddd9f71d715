"""The check that what is loaded from a folder is what the driver described, each time."""

import os
from pathlib import Path

import pytest

from schemas.errors import InputError
from udfs.models import source
from udfs.models.source import describe_model, verified_folder
from udfs.specs import ModelSpec

NAMES = ["model.safetensors", "tokenizer.json", "config.json"]


@pytest.fixture
def inspections(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each inspection that is made, which reads and hashes every file."""
    made: list[Path] = []
    original = source.inspect_model_folder

    def counted(root: Path) -> source.ModelFolder:
        made.append(root)
        return original(root)

    monkeypatch.setattr(source, "inspect_model_folder", counted)
    return made


def flip_last_bit(path: Path) -> None:
    """Changes a file in place, without its size, and gives it back its old time of modification."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def load(model: ModelSpec) -> str:
    with verified_folder(model) as folder:
        return folder.digest


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_changes_between_two_loads_is_noticed(folder: Path, name: str) -> None:
    seen = describe_model(str(folder))
    assert load(seen) == seen.digest
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ") if name != NAMES[0] else flip_last_bit(path)
    with pytest.raises(InputError, match="Give every machine the same files"):
        load(seen)


@pytest.mark.parametrize("settled_seconds", [0, 1_000_000_000])
def test_a_file_that_changes_during_a_load_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settled_seconds: int
) -> None:
    monkeypatch.setattr(source, "_SETTLED_SECONDS", settled_seconds)
    seen = describe_model(str(folder))
    with pytest.raises(InputError, match="Give every machine the same files"), verified_folder(seen):
        flip_last_bit(folder / "model.safetensors")


def test_files_are_read_a_second_time_only_in_doubt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, inspections: list[Path]
) -> None:
    seen = describe_model(str(folder))
    inspections.clear()
    assert load(seen) == seen.digest
    assert len(inspections) == 2, "files as young as these may change without a trace"
    monkeypatch.setattr(source, "_SETTLED_SECONDS", 0)
    inspections.clear()
    assert load(seen) == seen.digest
    assert len(inspections) == 1
