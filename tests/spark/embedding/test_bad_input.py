"""Input that must be refused or quarantined, tested with the whole job."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.tables import delta_session, space_tables
from tests.support.template import files_source

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]
GOOD = [{"id": "a", "text": "Alpha."}]


def ledger(spark: SparkSession, settings: Settings) -> dict[str, Row]:
    with delta_session(spark):
        return {row.doc_id: row for row in space_tables(spark, settings).read("ledger").collect()}


def refusal(spark: SparkSession, settings: Settings) -> str:
    """The message of a refusal, after checking that nothing was written."""
    with pytest.raises(InputError) as error:
        run(spark, settings)
    assert settings.store.path is None or not Path(settings.store.path).exists()
    return str(error.value)


def test_all_missing_columns_are_named_beside_those_that_exist(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    columns = {"id_column": "key", "text_columns": ["text", "body"], "payload_columns": ["lang"]}
    message = refusal(spark, make_settings(write_json(GOOD), source=columns))
    for name, key in (("key", "id_column"), ("body", "text_columns"), ("lang", "payload_columns")):
        assert f"it has no column '{name}', which source.{key} names. Its columns are 'id', 'text'" in message


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([{"id": None, "text": "x"}, {"id": "b", "text": "y"}], "id_column id is null in 1 rows"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "x"}], "1 ids occur in more than one row, such as ['a']"),
        ([{"id": 1.5, "text": "x"}], "id column 'id' is double, but ids are strings or whole numbers"),
        ([{"id": ["a"], "text": "x"}], "id column 'id' is array<string>, but ids are strings or whole numbers"),
        ([{"id": True, "text": "x"}], "id column 'id' is boolean, but ids are strings or whole numbers"),
        ([{"id": "a", "text": 7}], "text column 'text' is bigint, not string"),
        ([{"id": "a", "text": {"en": "x"}}], "text column 'text' is struct<en:string>, not string"),
    ],
)
def test_ids_and_texts_of_the_wrong_kind_are_refused(
    spark: SparkSession,
    write_json: WriteJson,
    make_settings: MakeSettings,
    documents: list[dict[str, Any]],
    expected: str,
) -> None:
    assert expected in refusal(spark, make_settings(write_json(documents)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text_hash", "'text_hash' clashes with a column of vectors"),
        ("Embedding", "'Embedding' clashes with a column of vectors"),
        ("_change_type", "'_change_type' has a name that embedlake or Delta uses itself"),
        ("two words", "'two words' has a character that Delta does not accept in names"),
        ("back`tick", "'back`tick' has a character that Delta does not accept in names"),
    ],
)
def test_payload_names_that_cannot_be_stored_are_refused(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, name: str, expected: str
) -> None:
    source = write_json([{"id": "a", "text": "Alpha.", name: 1}])
    message = refusal(spark, make_settings(source, source={"payload_columns": [name]}))
    assert expected in message and "Rename it in a view" in message


def test_an_empty_source_and_a_missing_one_are_refused(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, tmp_path: Path
) -> None:
    source = write_json(GOOD)
    filtered = refusal(spark, make_settings(source, source={"filter": "id = 'nobody'"}))
    assert "the source has no documents. Check source.path, source.table and source.filter." in filtered
    missing = refusal(spark, make_settings(str(tmp_path / "nowhere.jsonl")))
    assert "nowhere.jsonl cannot be read as json" in missing
    broken = refusal(spark, make_settings(source, source={"filter": "id ="}))
    assert "cannot be read as json" in broken and "PARSE_SYNTAX_ERROR" in broken


def test_faults_of_model_source_and_store_come_together(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings = make_settings(
        write_json(GOOD),
        source={"text_columns": ["body"]},
        model={"path": str(tmp_path / "no-model")},
        store={"path": str(tmp_path / "file" / "lake")},
    )
    with pytest.raises(InputError) as error:
        run(spark, settings)
    faults = " ".join(error.value.faults)
    assert len(error.value.faults) == 3
    assert "no-model" in faults and "'body'" in faults and "is a file" in faults


def test_a_store_that_is_mounted_read_only_is_refused(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, tmp_path: Path
) -> None:
    if os.path.ismount("/sys") and not os.access("/sys", os.W_OK):
        settings = make_settings(write_json(GOOD), store={"path": "/sys/lake"})
        with pytest.raises(InputError, match="/sys is not writable"):
            run(spark, settings)
    else:
        # For root, every folder seems writable, but the kernel refuses to create one here.
        settings = make_settings(write_json(GOOD), store={"path": "/proc/lake"})
        with pytest.raises(InputError, match="the store cannot be written at"):
            run(spark, settings)


def test_files_that_are_not_utf8_are_quarantined_and_the_rest_goes_on(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    (folder / "sub folder").mkdir(parents=True)
    (folder / "plain.txt").write_text("Plain text.")
    (folder / "sub folder" / "accents é%20.md").write_text("Überall Umlaute.")
    (folder / "latin.txt").write_bytes("Überall".encode("latin-1"))
    (folder / "picture.png").write_bytes(bytes(range(1, 128)) * 40)
    (folder / "empty.txt").write_bytes(b"")
    settings = make_settings(str(folder), source=files_source(folder, "files"))
    report = run(spark, settings)
    found = {key: (row.status, row.reason) for key, row in ledger(spark, settings).items()}
    assert found == {
        "plain.txt": ("embedded", None),
        "sub folder/accents é%20.md": ("embedded", None),
        "latin.txt": ("quarantined", "invalid_utf8"),
        "picture.png": ("quarantined", "binary"),
    }  # Spark skips files of zero bytes, so they are not part of the library
    assert report.counts["library_quarantined"] == 2


def test_a_damaged_file_is_named_when_its_texts_are_read(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    rows = [(f"{number}", f"Text number {number}. " * 50) for number in range(50)]
    # Without compression, so that the place of the texts is known.
    path = str(tmp_path / "source")
    spark.createDataFrame(rows, "id string, text string").coalesce(1).write.option("compression", "none").parquet(path)
    (file,) = (tmp_path / "source").glob("*.parquet")
    for checksum in (tmp_path / "source").glob(".*.crc"):
        checksum.unlink()
    content = file.read_bytes()
    # The length of a value comes right before it; the ids are sound.
    start = content.index(b"Text number 0.") - 4
    file.write_bytes(content[:start] + b"\xff" * 4 + content[start + 4 :])
    with pytest.raises(InputError, match=rf"reading the source and the ledger failed part-way: .*{file.name}"):
        run(spark, make_settings(path, source={"format": "parquet"}))


# Worth its time: the only test with a ten-megabyte document.
def test_texts_of_all_sizes_and_payload_of_all_names_go_through(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    names = ["a.b", "it's", 'say"so', "größe", "select", "operation", "payload", "new_text"]
    payload = {name: f"value of {name}" for name in names}
    sentences = "".join(f"Sentence number {i} of a very long document. " for i in range(220_000))
    assert len(sentences) > 10_000_000
    texts = {"long": sentences, "solid": "x" * 1_000_000, "blank": " \n\t\u200b", "one": "?"}
    documents = [{"id": doc_id, "text": text, **payload} for doc_id, text in texts.items()]
    settings = make_settings(write_json(documents), source={"payload_columns": names})
    run(spark, settings)
    found = ledger(spark, settings)
    assert {key: row.status for key, row in found.items()} == {
        "long": "embedded",
        "solid": "embedded",
        "blank": "empty",
        "one": "embedded",
    }
    with delta_session(spark):
        vectors = space_tables(spark, settings).read("vectors")
        sizes = vectors.where("doc_id = 'long'").selectExpr(
            "sum(char_end - char_start) as characters", "max(token_count) as most"
        )
        kept, (one,) = sizes.collect()[0], vectors.where("doc_id = 'one'").collect()
    assert kept.most <= 256
    assert kept.characters > 0.98 * len(sentences)
    assert {name: one[name] for name in names} == payload


def test_naughty_strings_as_texts_and_as_ids(
    spark: SparkSession, make_settings: MakeSettings, write_json: WriteJson, data_folder: Path
) -> None:
    strings = json.loads((data_folder / "bad-input" / "blns" / "blns.json").read_text())
    unique = sorted(set(strings))
    documents = [{"id": text, "text": f"{unique[-i]} {text}"} for i, text in enumerate(unique)]
    settings = make_settings(write_json(documents))
    report = run(spark, settings)
    assert report.counts["added"] == len(unique)
    found = ledger(spark, settings)
    assert set(found) == set(unique)
    with delta_session(spark):
        stored = {row.doc_id: row for row in space_tables(spark, settings).read("vectors").collect()}
    for document in documents:
        row = found[document["id"]]
        if row.chunk_count == 1:
            assert stored[document["id"]].text == document["text"].strip()
    assert sum(row.status == "embedded" for row in found.values()) > 0.97 * len(unique)
    assert run(spark, settings).counts["unchanged"] == len(unique)
