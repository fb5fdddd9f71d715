"""No command writes data where it does not belong: into messages, logs, records and reports.

Texts, ids, payload, queries and secrets each contain a word of their own. Each command is called so that it succeeds,
and so that what fails would quote data.
"""

import json
import logging
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.cli import app
from tests.support.command import Command, Completed
from tests.support.refresh.oracle import query
from tests.support.template import write_documents

pytestmark = pytest.mark.spark

TEXT, ID, PAYLOAD, QUERY, SECRET = "zqtext", "zqid", "zqpayload", "zqquery", "zqsecret"
CANARIES = {TEXT, ID, PAYLOAD, QUERY, SECRET}
DOCUMENTS = [
    {"id": f"{ID} 1", "text": f"Owls {TEXT}.", "note": f"{PAYLOAD} 1"},
    {"id": f"{ID} 2", "text": f"Bees {TEXT}.", "note": f"{PAYLOAD} 2"},
    {"id": f"{ID} 3", "text": f"FAKE-ENCODER-RAISES {TEXT}.", "note": f"{PAYLOAD} 3"},
]
# What Spark says of a text that is no number.
CAST = '[CAST_INVALID_INPUT] sourceType "STRING", targetType "INT", ansiConfig "spark.sql.ansi.enabled"'
FAILING = "source.filter=cast(text as int) > 0"


@dataclass(frozen=True)
class Lab:
    """A library with canaries, embedded by the command line."""

    spark: SparkSession
    folder: Path
    settings: Path
    loading: Completed
    numbers: Iterator[int]

    def file(self, name: str, content: str = "") -> str:
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def view(self, text: str) -> list[str]:
        """A source whose documents can be checked and counted, but their texts, an expression in SQL, not read."""
        self.spark.sql(
            f"CREATE OR REPLACE TEMPORARY VIEW canaries AS SELECT id, {text} AS text, note FROM "
            f"json.`{self.folder}/source.jsonl`"
        )
        return ["--set=source.format=table", "--set=source.path=null", "--set=source.table=canaries"]

    def broken(self, table: str) -> str:
        """A copy of the store in which the log of a table is no JSON."""
        copy = self.folder / f"broken-{next(self.numbers)}"
        shutil.copytree(self.folder / "lake", copy)
        for log in (copy / "toy" / "main" / table / "_delta_log").glob("*.json"):
            log.write_text(f"{TEXT} {log.read_text()}")
        return f"--set=store.path={copy}"

    def broken_registry(self) -> str:
        """A copy of the store in which the log of the registry is no JSON."""
        copy = self.folder / f"broken-{next(self.numbers)}"
        shutil.copytree(self.folder / "lake", copy)
        for log in (copy / "_embedlake" / "spaces" / "_delta_log").glob("*.json"):
            log.write_text(f"{TEXT} {log.read_text()}")
        return f"--set=store.path={copy}"

    def records(self) -> str:
        """Everything in the tables that describe the work, and in the files that commands wrote beside the data."""
        tables = [
            folder for folder in (self.folder / "lake" / "_embedlake").iterdir() if (folder / "_delta_log").exists()
        ]
        assert {"runs", "spaces"} <= {table.name for table in tables}
        rows = [str(row) for table in tables for row in query(table, "select * from t")]
        return "\n".join([*rows, *(path.read_text() for path in self.folder.glob("out/**/*.json"))])


@dataclass(frozen=True)
class Case:
    """A call of a command, its exit code, what it must say, and which canaries its answer on standard output has."""

    arguments: Callable[[Lab], list[str]]
    says: str
    code: int = 0
    answers: frozenset[str] = frozenset()


def case(arguments: Callable[[Lab], list[str]], says: str, code: int = 0, *answers: str) -> Case:
    return Case(arguments, says, code, frozenset(answers))


CASES: dict[str, dict[str, Case]] = {
    "embed": {
        # It succeeds when the library is loaded.
        "a filter fails": case(lambda lab: ["--set", FAILING], CAST, 2),
        "a text fails during the run": case(lambda lab: lab.view("string(int(text))"), CAST, 2),
        "the run fails unexpectedly": case(
            lambda lab: lab.view("coalesce(raise_error(text), text)"), "[USER_RAISED_EXCEPTION] (unexpected; --debug", 1
        ),
        "a header is missing": case(
            lambda lab: [
                *("--set=source.format=csv", f"--set=source.path={lab.file('source.csv', f'{ID},{TEXT}')}"),
                *("--set=source.payload_columns=[]", "--set=source.filter=id > 0"),
            ],
            "its first line is no header",
            5,
        ),
        "a setting fails": case(lambda lab: ["--set", f"source.options=[{SECRET}"], "cannot be parsed", 2),
        "it succeeds, for machines": case(lambda lab: ["--log-format=json"], '"event": "run_ended"'),
        "a text fails during the run, for machines": case(
            lambda lab: ["--log-format=json", *lab.view("string(int(text))")], '"exit_code": 2', 2
        ),
    },
    "plan": {
        "it succeeds": case(
            lambda lab: ["--allow-removals", f"--set=source.filter=id != '{ID} 3'"], "nothing was written", 0, ID
        ),
        "a filter fails": case(lambda lab: ["--set", FAILING], CAST, 2),
    },
    "follow": {
        "it succeeds": case(lambda lab: ["--once"], "toy.main: nothing changed"),
        "a filter fails": case(lambda lab: ["--once", "--set", FAILING], CAST, 2),
        "a text fails during the run": case(lambda lab: ["--until-idle", *lab.view("string(int(text))")], CAST, 2),
    },
    "calibrate": {
        "it succeeds": case(
            lambda lab: [f"--set=source.filter=id != '{ID} 3'", f"--out={lab.folder}/out/calibration"],
            "inference.token_budget: ",
        ),
        "a text fails the model": case(
            lambda lab: [f"--out={lab.folder}/out/none"], "[PYTHON_EXCEPTION] RuntimeError", 1
        ),
        "a filter fails": case(lambda lab: ["--set", FAILING, f"--out={lab.folder}/out/none"], CAST, 2),
    },
    "search": {
        "it succeeds": case(lambda lab: [f"Owls {QUERY}?"], "0.", 0, TEXT, ID, PAYLOAD),
        "a filter fails": case(lambda lab: [QUERY, "--where", "cast(text as int) > 0"], CAST, 1),
        "a query fails": case(
            lambda lab: ["--queries", lab.file("bad.jsonl", f'{{"_id": {QUERY}}}'), f"--out={lab.folder}/hits"],
            "bad.jsonl, line 1: is not a JSON object.",
            2,
        ),
        "a header is missing": case(
            lambda lab: ["--queries", lab.file("bad.csv", f"1,{QUERY}\n"), f"--out={lab.folder}/hits"],
            "is no header",
            2,
        ),
    },
    "evaluate": {
        "it succeeds": case(
            lambda lab: [
                *("--queries", lab.file("queries.jsonl", f'{{"_id": "q 1", "text": "Owls {QUERY}?"}}\n')),
                *("--judgements", lab.file("judged.tsv", f"q 1\t{ID} 1\t1\n")),
                f"--out={lab.file('out/evaluation.json')}",
            ],
            "nDCG@10",
        ),
        "columns are in another order": case(
            lambda lab: ["--pairs", lab.file("pairs.csv", f"1,Owls {TEXT}.,Bees {QUERY}.\n")],
            "pairs.csv, line 1: the score is not a number.",
            2,
        ),
    },
    "compare": {
        "it succeeds": case(
            lambda lab: [
                *("--space=other", "--set=model.path=fake:16", f"--set=source.filter=id != '{ID} 3'"),
                *("--queries", lab.file("compared.jsonl", f'{{"_id": "q 1", "text": "Owls {QUERY}?"}}\n')),
                *("--judgements", lab.file("compared.tsv", f"q 1\t{ID} 1\t1\n")),
                f"--out={lab.file('out/comparison.json')}",
            ],
            "nDCG@10",
        ),
        "judgements are of another library": case(
            lambda lab: [
                *("--space=other", "--set=model.path=fake:16"),
                *("--queries", lab.file("compared.jsonl", f'{{"_id": "q 1", "text": "Owls {QUERY}?"}}\n')),
                *("--judgements", lab.file("others.tsv", f"q 1\tnone {ID}\t1\n")),
            ],
            "have none of the 1 relevant documents",
            2,
        ),
        "a filter fails": case(lambda lab: ["--space=other", "--set=model.path=fake:16", "--set", FAILING], CAST, 2),
    },
    "export": {
        "it succeeds": case(lambda lab: [f"--to=parquet:{lab.folder}/out/export"], "2 "),
        "a password is in the address": case(
            lambda lab: [f"--to=postgresql://me:{SECRET}@localhost/db#t"], "password", 2
        ),
        "a server is not there": case(lambda lab: ["--to=postgresql://localhost:1/db#t"], "cannot be reached", 2),
    },
    "doctor": {
        "it succeeds": case(lambda lab: [], "a stand-in that needs no files"),
        "the store cannot be written": case(
            lambda lab: [f"--set=store.path={lab.file('no-folder')}/lake"], "cannot be used", 2
        ),
    },
    "status": {
        "it succeeds": case(lambda lab: [], "toy"),
        "a filter fails": case(lambda lab: ["--set", FAILING], CAST),
    },
    "spaces": {
        "it succeeds": case(lambda lab: [], "fake:8"),
        "a log is broken": case(lambda lab: [lab.broken("vectors")], "(unexpected; --debug shows where)", 1),
    },
    "promote": {
        "it is refused": case(lambda lab: ["--space=none"], "library toy has no space none", 2),
        "a log is broken": case(lambda lab: ["--space=none", lab.broken_registry()], "(unexpected; --debug shows", 1),
    },
    "rollback": {
        "it is refused": case(lambda lab: [], "no space that was active before", 2),
    },
    "drop": {
        "it is refused": case(lambda lab: ["--space=main"], "space toy.main is active", 2),
    },
    "report": {
        # The page itself has texts and ids, unless they are left out.
        "it succeeds": case(lambda lab: [f"--out={lab.folder}/report.html"], "3 documents"),
        "a filter fails": case(lambda lab: [f"--out={lab.folder}/report.html", "--set", FAILING], "3 documents"),
        "a log is broken": case(
            lambda lab: [f"--out={lab.folder}/report.html", lab.broken("vectors")],
            "(unexpected; --debug shows where)",
            1,
        ),
    },
    "quarantine": {
        "it succeeds": case(lambda lab: [], "model_error", 0, ID),
        "a log is broken": case(lambda lab: [lab.broken("ledger")], "(unexpected; --debug shows where)", 1),
    },
    "verify": {
        "it succeeds": case(lambda lab: [], "faults     none"),
        "a log is broken": case(lambda lab: [lab.broken("vectors")], "(unexpected; --debug shows where)", 1),
    },
    "maintain": {
        "it succeeds": case(lambda lab: [], "vectors"),
        "a log is broken": case(lambda lab: [lab.broken("ledger")], "(unexpected; --debug shows where)", 1),
    },
}
VERBS = [str(one.name) for one in app.registered_commands if not one.hidden]


@pytest.fixture(scope="module")
def lab(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "out").mkdir()
    source = {
        "path": write_documents(DOCUMENTS, folder / "source.jsonl"),
        **{"format": "json", "id_column": "id", "text_columns": ["text"], "payload_columns": ["note"]},
        "options": {"password": SECRET},
    }
    values: dict[str, Any] = {
        "library": "toy",
        "store": {"path": str(folder / "lake")},
        "source": source,
        "model": {"path": "fake:8"},
        "run": {"max_quarantined_fraction": 0.5},
        "spark": {"properties": {"spark.hadoop.fs.s3a.secret.key": SECRET}},
    }
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps(values))
    loading = Command(spark)("embed", "--config", settings)
    return Lab(spark, folder, settings, loading, count())


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the handlers of any of Python's loggers, with the errors that are logged."""
    records: list[str] = []

    def keep(_: logging.Logger, record: logging.LogRecord) -> None:
        trace = traceback.format_exception(*record.exc_info) if record.exc_info else []
        records.append(record.getMessage() + "".join(trace))

    monkeypatch.setattr(logging.Logger, "callHandlers", keep)
    return records


def found(text: str) -> set[str]:
    return {canary for canary in CANARIES if canary in text.lower()}


def test_the_library_is_loaded_without_a_word_of_it(lab: Lab) -> None:
    assert lab.loading.returncode == 0, lab.loading.stderr
    assert "3 added" in lab.loading.stdout and "1 quarantined" in lab.loading.stdout
    assert found(lab.loading.stdout + lab.loading.stderr + lab.records()) == set()


# Worth its time: every command, as it succeeds and as it fails on data. A command without a case fails.
@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb in VERBS for name in CASES.get(verb, ["no case"])])
def test_nothing_that_is_written_has_data(
    lab: Lab,
    verb: str,
    name: str,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("QDRANT_API_KEY", SECRET)
    tried = CASES[verb][name]
    done = Command(lab.spark)(verb, "--config", lab.settings, *tried.arguments(lab))
    written = "\n".join([done.stderr, *logged, *capfd.readouterr(), lab.records()])
    assert found(written) == set(), written
    assert found(done.stdout) == tried.answers, done.stdout
    assert done.returncode == tried.code, done.stdout + done.stderr
    assert tried.says in done.stdout + done.stderr
    assert "Traceback" not in written
