"""Spaces by their names and models: which tables are whose, and what is told of another model."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pyspark.sql import Row

from schemas.errors import InputError
from spark_jobs.settings import Settings, as_settings
from spark_jobs.store.registry import refuse_other_case
from spark_jobs.store.spaces import check_space
from udfs.models.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.specs import ChunkSpec, ModelSpec

CATALOG = {"catalog": "main", "schema": "retrieval"}


def settings_of(name: str, store: dict[str, str]) -> Settings:
    library, space = name.split(".")
    source = {"format": "json", "path": "/docs", "id_column": "id", "text_columns": ["text"]}
    names = {"library": library, "space": space}
    return as_settings({**names, "store": store, "source": source, "model": {"path": "fake:8"}})


def registry(*names: str) -> list[Row]:
    return [Row(library=name.split(".")[0], space=name.split(".")[1]) for name in names]


@pytest.mark.parametrize(
    ("names", "name", "refused"),
    [
        ([], "Handbook.main", ""),
        (["Handbook.main"], "Handbook.main", ""),
        (["Handbook.main"], "Handbook.other", ""),
        (["Handbook.main"], "handbook.main", "library handbook would share its tables with library Handbook"),
        # Both have the view `handbook__vectors`.
        (["Handbook.main"], "handbook.other", "library handbook would share its tables with library Handbook"),
        (["Handbook.main"], "Handbook.Main", "space Main would share its tables with space main"),
        # A store of an earlier version may hold both. The first one can be run, which puts its tables right.
        (["Handbook.main", "handbook.main"], "Handbook.main", ""),
        (["Handbook.main", "handbook.main"], "handbook.main", "library handbook would share"),
        (["Handbook.main", "Handbook.MAIN"], "Handbook.main", ""),
        (["Handbook.main", "Handbook.MAIN"], "Handbook.MAIN", "space MAIN would share"),
    ],
)
def test_in_a_catalog_the_first_name_owns_the_tables(names: list[str], name: str, refused: str) -> None:
    settings = settings_of(name, CATALOG)
    if not refused:
        refuse_other_case(registry(*names), settings)
        return
    with pytest.raises(InputError, match=f"^{refused}"):
        refuse_other_case(registry(*names), settings)


@pytest.mark.parametrize("name", ["handbook.main", "Handbook.Main"])
def test_object_stores_and_most_disks_tell_case_apart(name: str, tmp_path: Path) -> None:
    for path in ("s3a://bucket/lake", str(tmp_path)):
        refuse_other_case(registry("Handbook.main"), settings_of(name, {"path": path}))


@pytest.mark.parametrize("name", ["handbook.main", "Handbook.Main"])
def test_a_disk_that_ignores_case_is_like_a_catalog(name: str, tmp_path: Path) -> None:
    owned = tmp_path / "Handbook" / "main"
    owned.mkdir(parents=True)
    # Such a disk finds the same folder under both names.
    (tmp_path / "handbook").symlink_to(tmp_path / "Handbook")
    (tmp_path / "Handbook" / "Main").symlink_to(owned)
    with pytest.raises(InputError, match="the store's names ignore case"):
        refuse_other_case(registry("Handbook.main"), settings_of(name, {"path": str(tmp_path)}))


def test_an_alias_that_has_moved_is_told_by_both_versions() -> None:
    chunking = ChunkSpec(method="structure", max_tokens=64, min_tokens=16)
    stored = ModelSpec(path="models:/main.ml.minilm/3", digest="a" * 64, dimension=8, max_tokens=64, folder="/cache/3")
    row = Row(
        model=json.dumps(asdict(stored)),
        chunking=json.dumps(asdict(chunking)),
        model_fingerprint=model_fingerprint(stored),
        chunking_fingerprint=chunking_fingerprint(chunking, stored),
    )
    # The same files under another number, or kept elsewhere, are the same model.
    check_space(row, "main", replace(stored, path="models:/main.ml.minilm/4", folder="/cache/4"), chunking)
    moved = replace(stored, path="models:/main.ml.minilm/4", folder="/cache/4", digest="b" * 64)
    told = "it was made by models:/main.ml.minilm/3, and the settings' model is models:/main.ml.minilm/4"
    with pytest.raises(InputError, match=rf"space main holds vectors of another model \({told}\)"):
        check_space(row, "main", moved, chunking)
