"""CSV, JSON and columnar files as other programs write them: read right or refused by name, never changed quietly."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.embedding.documents import as_documents
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources import csv_rows, json_rows
from spark_jobs.sources.source import check_ids, open_source

pytestmark = pytest.mark.spark

Documents = dict[str, tuple[str | None, str | None]]
BROKEN_UTF8 = (None, "invalid_utf8")
HARD = {
    "comma": 'He said "no", then left.',
    "break": "one\ntwo\n",
    "quotes": '"quoted" from the start',
    "only": '"',
    "backslash": 'C:\\"x" \\',
    "é": "ünïcödé \ufffd 日本 😀",
    "na": "NA",
    "nan": "NaN",
    "null": "null",
    "space": "  kept  ",
}


def settings(kind: str, path: Path, **values: Any) -> SourceSettings:
    columns = {"format": kind, "path": str(path), "id_column": "id", "text_columns": ["text"]}
    return SourceSettings.model_validate({**columns, **values})


def read(spark: SparkSession, source_settings: SourceSettings) -> Documents:
    """Text and reason of each document, by its id; a payload follows the text after a bar."""
    source = open_source(spark, source_settings)
    rows = as_documents(source.rows, source_settings, source.payload).collect()
    assert check_ids(source, source_settings) == len(rows)
    return {
        row.doc_id: (
            "|".join([row.text, *map(str, row.payload)]) if row.text is not None and source.payload else row.text,
            row.refused and row.refused.reason,
        )
        for row in rows
    }


def refusal(spark: SparkSession, source_settings: SourceSettings) -> str:
    with pytest.raises(InputError) as error:
        check_ids(open_source(spark, source_settings), source_settings)
    return str(error.value)


def files(folder: Path, **contents: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(raw)
    return folder


def test_csv_of_pandas_and_python_comes_back_as_it_was(spark: SparkSession, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": list(HARD), "text": list(HARD.values()), "note": [None, "", *["n"] * 8]})
    marked = {"encoding": "utf-8-sig", "quoting": csv.QUOTE_ALL, "lineterminator": "\r\n"}
    frame.to_csv(tmp_path / "pandas.csv")  # its first column has no name
    frame[["note", "id", "text"]].to_csv(tmp_path / "marked.csv", index=False, **marked)
    with (tmp_path / "python.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "note", "text"], *([key, "", text] for key, text in HARD.items())])
    # An empty field has no value, quoted or not.
    expected = {key: (f"{text}|{'None' if key in ('comma', 'break') else 'n'}", None) for key, text in HARD.items()}
    for name in ("pandas.csv", "marked.csv"):
        assert read(spark, settings("csv", tmp_path / name, payload_columns=["note"])) == expected
    assert read(spark, settings("csv", tmp_path / "python.csv")) == {key: (text, None) for key, text in HARD.items()}


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"a_csv": "id,text\n1,a\n2,a,b\n3\n"}, "a.csv: 2 rows have more or fewer fields than the header."),
        ({"a_csv": "id,text\n1,aaa\n", "b_csv": "text,id\nb,2\n"}, "b.csv has other columns in its header"),
        ({"a_csv": 'id,text\n1,"a\n2,b\n3,c\n'}, "a.csv: a quotation mark is never closed"),
        ({"a_csv": 'id,text\n1,"He said \\"no\\" and left"\n'}, "a.csv near line 2: a quotation mark inside"),
        ({"a_csv": "id,text,,\n1,a,,\n", "b_csv": "id,text,,\n2,b,,\n"}, "have the same name or none"),
        ({"a_csv": b"id,text\n\xe9,a\n2,b\n"}, "a.csv: source.id_column id is not valid UTF-8 in 1 rows."),
    ],
    ids=["fields", "header", "open", "backslash", "names", "id"],
)
def test_csv_that_would_be_read_wrong_is_refused_by_file(
    spark: SparkSession, tmp_path: Path, contents: dict[str, Any], said: str
) -> None:
    # The filter would hide what is wrong.
    assert said in refusal(spark, settings("csv", files(tmp_path / "in", **contents), filter="id = '1'"))


def test_options_say_otherwise(spark: SparkSession, tmp_path: Path) -> None:
    path = files(
        tmp_path, a_csv='\ufeff1¦5" pipe\n2¦"a \\"b\\""\n', b_csv="id,text,,\r\n1,a,,\r\n", c_csv='id,text\n1,"a\n'
    )
    columns = {"id_column": "_c0", "text_columns": ["_c1"]}
    own = {"header": False, "sep": "¦", "escape": "\\"}
    assert read(spark, settings("csv", path / "a.csv", options=own, **columns)) == {
        "1": ('5" pipe', None),
        "2": ('a "b"', None),
    }
    assert read(spark, settings("csv", path / "b.csv")) == {"1": ("a", None)}
    assert read(spark, settings("csv", path / "c.csv", options={"multiLine": False})) == {"1": ("a", None)}


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_bytes_that_are_not_utf8_are_noticed_and_encodings_have_any_name(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    rows = [("1", "ok \ufffd", "p"), ("2", "caf\udce9", "p"), ("3", "ok", "caf\udce9"), ("4", "Café", "é")]
    if kind == "csv":
        lines = ["id,text,p", *(",".join(row) for row in rows)]
    else:
        lines = ['{{"id": "{}", "text": "{}", "p": "{}", "other": "\udcff"}}'.format(*row) for row in rows]
    raw = "\n".join(lines).encode("utf-8", "surrogateescape")
    (tmp_path / "raw").write_bytes(raw)
    named = {"payload_columns": ["p"]}
    # In JSON, a line with other bad bytes and a replacement character of its own is not told from a damaged one.
    first = BROKEN_UTF8 if kind == "json" else ("ok \ufffd|p", None)
    assert read(spark, settings(kind, tmp_path / "raw", **named)) == {
        "1": first,
        "2": BROKEN_UTF8,
        "3": BROKEN_UTF8,
        "4": ("Café|é", None),
    }
    text = "id,text,p\n4,Café,é\n" if kind == "csv" else '{"id": "4", "text": "Café", "p": "é"}\n'
    (tmp_path / "latin").write_bytes(text.encode("latin-1"))
    (tmp_path / "wide").write_bytes(text.encode("utf-16"))
    for name, encoding in (("latin", "latin1"), ("wide", "utf16")):
        options = {"encoding": encoding, "multiLine": True}
        found = read(spark, settings(kind, tmp_path / name, options=options, **named))
        assert found == {"4": ("Café|é", None)}


def test_json_arrays_and_halves_of_characters(spark: SparkSession, tmp_path: Path) -> None:
    documents = [
        {"id": "good", "text": "pair 😀, slash \\ud800?", "n": 1},
        {"id": "half", "text": "what \ud800?", "n": 2},
        {"id": "elsewhere", "text": "what?", "other": "\udc00"},
    ]
    expected = {"good": ("pair 😀, slash \\ud800?", None), "half": BROKEN_UTF8, "elsewhere": ("what?", None)}
    (tmp_path / "pretty.json").write_text(json.dumps(documents, indent=2))
    (tmp_path / "line.json").write_text("\ufeff" + json.dumps(documents) + "\r\n\r\n[]\n")
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    for name in ("pretty.json", "line.json", "lines.jsonl"):
        assert read(spark, settings("json", tmp_path / name)) == expected
    (tmp_path / "lines.jsonl").write_text(json.dumps({"id": "\ud800", "text": "x"}))
    assert "source.id_column id is not valid UTF-8 in 1 rows" in refusal(
        spark, settings("json", tmp_path / "lines.jsonl")
    )


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (
            {"a_json": '{"id": "1", "text": "a"}\n{"id": "2",\n{"id": "3"} {"id": "4"}\n5\n'},
            "a.json: 3 lines are not JSON objects.",
        ),
        ({"a_json": "this is\nno JSON\n"}, "a.json: 2 lines are not JSON objects."),
        ({"a_json": '[\n{"id": "1", "text": "a"}]\n[{"id": "2"}]'}, "a.json is not one JSON object or one array"),
        ({"a_json": '[\n{"id": "1", "text": "a"}]\n', "b_json": '{"id": "2"}\n'}, "a.json is one array over several"),
    ],
    ids=["lines", "none", "two", "mixed"],
)
def test_json_that_would_be_cut_short_is_refused_by_file(
    spark: SparkSession, tmp_path: Path, contents: dict[str, Any], said: str
) -> None:
    message = refusal(spark, settings("json", files(tmp_path / "in", **contents), filter="id = '1'"))
    assert said in message, message


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_values_of_folder_names_are_strings_as_they_are_written(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    for name in ("007", "7", "a%2Fb"):
        folder = files(tmp_path / f"id={name}" / "v=1.10" / "year=2024")
        frame = pd.DataFrame({"text": [f"of {name}"]})
        if kind == "csv":
            frame.to_csv(folder / "part.csv", index=False)
        elif kind == "json":
            frame.to_json(folder / "part.json", orient="records", lines=True)
        else:
            frame.to_parquet(folder / "part.parquet")
    found = read(spark, settings(kind, tmp_path, payload_columns=["v"], filter="year > 2023"))
    assert found == {
        "007": ("of 007|1.10", None),
        "7": ("of 7|1.10", None),
        "a/b": ("of a%2Fb|1.10", None),
    }


def test_columns_that_nobody_named_and_columns_without_a_value_do_no_harm(spark: SparkSession, tmp_path: Path) -> None:
    moments = pa.array([1_700_000_000_000_000_001], pa.timestamp("ns"))
    table = pa.table({"id": ["a"], "text": ["Owls."], "title": pa.array([None], pa.null()), "at": moments, "n": [1]})
    path = tmp_path / "of-pandas.parquet"
    pq.write_table(table, path, version="2.6")
    both = {"text_columns": ["title", "text"]}
    assert read(spark, settings("parquet", path, payload_columns=["n"], **both)) == {"a": ("Owls.|1", None)}
    assert read(spark, settings("parquet", path, payload_columns=["at"], **both)) == {
        "a": ("Owls.|1700000000000000001", None)
    }
    with pytest.raises(InputError, match="text column 'n' is bigint, not string"):
        open_source(spark, settings("parquet", path, text_columns=["n"]))


def test_rows_that_are_too_large_do_not_end_the_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "MAX_BYTES", 20_000_100)
    monkeypatch.setattr(csv_rows, "MAX_BYTES", 1000)
    # Spark takes a string of JSON for broken above 20 million characters, and the reader above the limit.
    texts = {"a": "small", "b": "b" * 20_000_010, "c": "c" * 20_000_200, "d": "small too"}
    lines = "".join(json.dumps({"text": text, "id": key, "n": 1}) + "\n" for key, text in texts.items())
    source = settings("json", files(tmp_path / "json", a_jsonl=lines), payload_columns=["n"])
    assert read(spark, source) == {
        **{key: (f"{text}|1", None) for key, text in texts.items()},
        "c": (None, "too_large"),
    }
    most, more = (files(tmp_path / f"{size}", a_csv=f"id,text\na,{'m' * size}\nb,small\n") for size in (1000, 1001))
    assert read(spark, settings("csv", most)) == {"a": ("m" * 1000, None), "b": ("small", None)}
    assert " has a field of more than 1,000 bytes" in refusal(spark, settings("csv", more))
