"""What the registry says of spaces: who owns a name, and what is told of another model or other rules."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pyspark.sql import Row

from schemas.errors import InputError
from spark_jobs.settings import Settings, as_settings
from spark_jobs.settings.specs import chunk_spec, inference_spec
from spark_jobs.store.registry import refuse_other_case
from spark_jobs.store.spaces import as_made, check_space, rules_of
from tests.stores.make_store import unpacked
from tests.support.refresh.oracle import query
from udfs.models.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.specs import NEWEST_RULES, ChunkSpec, ModelSpec

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


MODEL = ModelSpec(path="fake:8", digest="d" * 64, dimension=8, max_tokens=64)
NEW_SPACE = ChunkSpec(method="structure", max_tokens=64, min_tokens=16)
OF_RULES_1 = ChunkSpec(method="structure", max_tokens=64, min_tokens=16, rules=1)


def space_made_by(chunking: ChunkSpec, *, before_rules_had_numbers: bool = False) -> Row:
    known = asdict(chunking)
    if before_rules_had_numbers:
        del known["rules"]
    return Row(
        chunking=json.dumps(known),
        chunking_fingerprint=chunking_fingerprint(chunking, MODEL),
        model=json.dumps(asdict(MODEL)),
        model_fingerprint=model_fingerprint(MODEL),
    )


def settings_with_rules(rules: int | None) -> Settings:
    settings = settings_of("handbook.main", {"path": "/lake"})
    return settings.model_copy(update={"chunking": settings.chunking.model_copy(update={"rules": rules})})


def test_a_new_space_is_cut_by_the_newest_rules() -> None:
    assert as_made(None, settings_with_rules(None), NEW_SPACE).rules == NEWEST_RULES == 2


@pytest.mark.parametrize("before_rules_had_numbers", [True, False])
def test_a_space_keeps_the_rules_that_it_was_made_by(before_rules_had_numbers: bool) -> None:
    row = space_made_by(OF_RULES_1, before_rules_had_numbers=before_rules_had_numbers)
    assert rules_of(row) == 1
    chunking = as_made(row, settings_with_rules(None), NEW_SPACE)
    assert chunking == OF_RULES_1
    check_space(row, "main", MODEL, chunking)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_stores_of_earlier_versions_go_on_by_rules_1(number: int, tmp_path: Path) -> None:
    settings = unpacked(f"format-{number}.tar.gz", tmp_path)
    (found,) = query(tmp_path / "store" / "_embedlake" / "spaces", "select * from t")
    model = inference_spec(settings).model
    chunking = as_made(Row(**found), settings, chunk_spec(settings, model))
    assert chunking.rules == 1
    check_space(Row(**found), "main", model, chunking)


def test_other_rules_than_those_of_the_space_are_refused_by_name() -> None:
    row = space_made_by(OF_RULES_1, before_rules_had_numbers=True)
    chunking = as_made(row, settings_with_rules(2), NEW_SPACE)
    with pytest.raises(InputError, match=r"another rule \(rules was 1, is 2\)\. Go back to it, or name a new space"):
        check_space(row, "main", MODEL, chunking)


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
