"""Search, evaluation and export as commands: what they print, what they refuse, and their exit codes."""

import json
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.command import Command, Completed

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

# The fake model gives equal texts equal vectors.
TEXTS = {"owl": "Owls hunt at night.", "bee": "Bees dance.", "ant": "Ants carry leaves."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrieval")


@pytest.fixture(scope="module")
def settings(command: Command, folder: Path, small: dict[str, str]) -> Path:
    """An embedded library of three documents."""
    source, path = folder / "source.jsonl", folder / "settings.yaml"
    source.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in TEXTS.items()))
    values = {
        "library": "toy",
        "store": {"path": str(folder / "lake")},
        "source": {"format": "json", "path": str(source), "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:8"},
        "spark": {"master": "local[2]", "properties": {**small, "spark.sql.warehouse.dir": str(folder / "warehouse")}},
    }
    # JSON is valid YAML.
    path.write_text(json.dumps(values))
    command.embed(path)
    return path


def tables(folder: Path) -> list[Path]:
    """Every file except the locks, which remain after their holder has ended."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks")


def told(done: Completed) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_search_prints_the_nearest_chunks(command: Command, settings: Path) -> None:
    lines = told(command("search", "--config", settings, "Bees dance.", "-k", "2")).splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["1", "1.000", "bee", "[0:11]"]
    assert lines[1].strip() == "Bees dance."
    said = command("search", "--config", settings, "Bees dance.", "--where", "doc_id != 'bee'", "--json")
    rows = [json.loads(line) for line in told(said).splitlines()]
    assert {row["doc_id"]: row["text"] for row in rows} == {key: TEXTS[key] for key in ("owl", "ant")}
    assert [row["rank"] for row in rows] == [1, 2]
    none = command("search", "--config", settings, "Bees dance.", "--where", "doc_id = 'cow'")
    assert told(none) == "toy.main: no chunk matches\n"


def test_search_writes_the_hits_of_a_file_of_queries(command: Command, settings: Path, folder: Path) -> None:
    queries, out = folder / "queries.csv", folder / "hits.parquet"
    queries.write_text("id,text\n1,Bees dance.\n2,Ants carry leaves.\n")
    told(command("search", "--config", settings, "--queries", queries, "--out", out, "-k", "1"))
    rows = ds.dataset(out, format="parquet").to_table(columns=["query_id", "doc_id"]).to_pylist()
    assert sorted((row["query_id"], row["doc_id"]) for row in rows) == [("1", "bee"), ("2", "ant")]


def test_evaluate_prints_the_measures(command: Command, settings: Path, folder: Path) -> None:
    queries, judgements = folder / "queries.jsonl", folder / "qrels.tsv"
    queries.write_text('{"_id": "1", "text": "Bees dance."}\r\n{"_id": "2", "text": "Ants carry leaves."}\r\n')
    judgements.write_text("query-id\tcorpus-id\tscore\r\n1\tbee\t1\r\n2\tant\t1\r\n")
    files = ("--queries", queries, "--judgements", judgements)
    found = json.loads(told(command("evaluate", "--config", settings, *files, "--json")))
    assert found["measures"] == {name: 1.0 for name in found["measures"]}
    assert "nDCG@10" in found["measures"]


def test_export_sends_everything_and_then_nothing(command: Command, settings: Path, folder: Path) -> None:
    out = folder / "exported"
    to = ("--config", settings, "--to", f"parquet:{out}")
    dry = told(command("export", *to, "--dry-run"))
    assert "3" in dry and not out.exists()
    told(command("export", *to))
    rows = [row for path in out.glob("*.parquet") for row in pq.read_table(path, columns=["doc_id"]).to_pylist()]
    assert sorted(row["doc_id"] for row in rows) == sorted(TEXTS)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    told(command("export", *to))
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")} == before


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("search", [], "search needs either a question, or --queries FILE with --out PATH"),
        ("search", ["  "], "the question is empty. Write a question."),
        ("search", ["owls", "--space", "other"], "library toy has no space other (it has main). "),
        ("search", ["owls", "--where", "colour = 'red'"], "--where takes one boolean SQL expression "),
        ("search", ["owls", "--where", "doc_id"], "--where takes one boolean SQL expression "),
        ("search", ["owls", "--set", "model.path=fake:16"], "space toy.main was made by the model fake:8. "),
        ("search", ["owls", "-k", "0"], "Invalid value for '-k'"),
        ("search", ["--queries", "none.csv", "--out", "hits"], "the queries none.csv cannot be read: "),
        ("evaluate", [], "--queries and --judgements go together. "),
        ("evaluate", ["--pairs", "none.csv"], "none.csv"),
        ("export", ["--to", "mongodb://somewhere"], "unrecognized --to. Use one of the forms "),
        ("export", ["--to", "parquet:"], "--to parquet: names no folder"),
        ("export", ["--to", "postgresql://ann:hush@127.0.0.1:1/db#docs"], "password"),
        ("export", ["--to", "qdrant:http://127.0.0.1:1#docs"], "127.0.0.1"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_an_exit_code(
    command: Command, settings: Path, folder: Path, verb: str, arguments: list[str], message: str
) -> None:
    before = tables(folder)
    answer = command(verb, "--config", settings, *arguments)
    assert (answer.returncode, answer.stdout) == (2, ""), answer
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr and "hush" not in answer.stderr
    assert tables(folder) == before
