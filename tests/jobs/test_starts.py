"""The job started the way people start it: with the installed command, and with spark-submit and a zip."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pytest

from tests.support.command import NOISE, Command, Completed
from tests.support.small_tables import FIRST_COMPILER

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

Start = Callable[..., Completed]
Query = Callable[[str | Path, str], list[dict[str, Any]]]

DOCUMENTS = [
    {"id": "owl", "title": "Owls", "body": "They hunt at night.", "lang": "en"},
    {"id": "bee", "title": "Bees", "body": None, "lang": "en"},
    {"id": "void", "title": None, "body": "  ", "lang": None},
    {"id": "bees", "title": "Bees", "body": "", "lang": "nl"},
]
COLUMNS = {"text_columns": ["title", "body"], "payload_columns": ["lang"]}
# Words and punctuation marks, plus two special tokens.
VECTORS = [
    {"doc_id": "bee", "chunk_index": 0, "token_count": 3, "text": "Bees", "lang": "en"},
    {"doc_id": "bees", "chunk_index": 0, "token_count": 3, "text": "Bees", "lang": "nl"},
    {"doc_id": "owl", "chunk_index": 0, "token_count": 8, "text": "Owls They hunt at night.", "lang": "en"},
]
LABELS = ["run", "plan", "documents", "library", "chunks", "tokens", "inference", "seconds", "table", "look"]


def summary(done: Completed, embeds: bool = True) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    assert not NOISE.search(done.stdout) and not NOISE.search(done.stderr), done.stdout + done.stderr
    pairs = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [label for label, _ in pairs] == [label for label in LABELS if embeds or label != "inference"]
    return {label: text for label, text in pairs}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table_rows(text: str) -> list[dict[str, str]]:
    """The rows of the printed tables, each keyed by the column names of its table."""
    rows: list[dict[str, str]] = []
    names: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃]", line.strip("│┃"))]
        if line.startswith("┃"):
            names = cells
        elif line.startswith("│"):
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def test_the_command_embeds_shows_its_store_embeds_nothing_twice_and_keeps_to_its_model(
    command: Command,
    embedlake: Start,
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    query: Query,
    tmp_path: Path,
) -> None:
    settings = write_settings(write_json(DOCUMENTS), source=COLUMNS)
    done = command("embed", "--config", settings)
    lines = summary(done)
    assert lines["run"] == "toy.main.1"
    assert lines["plan"] == "full comparison: the source has no versions"
    assert (
        lines["documents"] == "4 added · 0 changed · 0 tried again · 0 with new payload only · 0 removed · 0 unchanged"
    )
    assert lines["library"] == "3 embedded · 1 empty · 0 quarantined · 3 chunks"
    assert lines["chunks"] == "3 in this run · 2 embedded · 1 reused · 0.0% truncated"
    assert lines["tokens"].startswith("11 embedded · 3 saved")
    assert re.fullmatch(r"\d+: session \d.*", lines["seconds"])
    vectors = tmp_path / "lake" / "toy" / "main" / "vectors"
    assert lines["table"] == f"delta.`{vectors}`"
    assert lines["look"] == f"SELECT doc_id, chunk_index, token_count, text FROM delta.`{vectors}` LIMIT 5"
    looked = query(vectors, lines["look"].replace(lines["table"], "t"))
    without_payload = [{name: value for name, value in row.items() if name != "lang"} for row in VECTORS]
    assert sorted(looked, key=lambda row: row["doc_id"]) == without_payload
    # Progress: one line per step, each with its time.
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in done.stderr.splitlines())
    steps = ["session", "pre-flight", "open", "plan", "chunk", "embed", "merge vectors", "merge ledger", "reconcile"]
    assert [line[9:] for line in done.stderr.splitlines() if line[9:] in steps] == steps

    # The installed command, once: only a cold start shows that Spark and Java print nothing. Java's own standard output
    # does not reach the command's standard output.
    talkative = f"spark.properties.spark.driver.extraJavaOptions={FIRST_COMPILER} -Xlog:gc"
    again = summary(embedlake("embed", "--config", settings, "--set", talkative), embeds=False)
    assert again["run"] == "toy.main.2"
    assert (
        again["documents"] == "0 added · 0 changed · 0 tried again · 0 with new payload only · 0 removed · 4 unchanged"
    )
    assert again["library"] == lines["library"]
    assert again["chunks"] == "0 in this run · 0 embedded · 0 reused · none to embed"
    assert again["tokens"] == "0 embedded · 0 saved"

    shown = command("status", "--config", settings)
    assert (shown.returncode, shown.stderr) == (0, "")
    space, second, first = table_rows(shown.stdout)
    assert re.fullmatch("[0-9a-f]{12}", space.pop("model"))
    assert space == {
        "library": "toy",
        "space": "main",
        "active": "yes",
        "dimension": "8",
        "documents": "4",
        "embedded": "3",
        "empty": "1",
        "quarantined": "0",
        "chunks": "3",
        "unknown tokens": "0.0%",
    }
    columns = ("run", "last event", "documents", "chunks", "tokens embedded", "message")
    assert [first[name] for name in columns] == ["toy.main.1", "finished", "4", "3", "11", ""]
    assert [second[name] for name in columns] == ["toy.main.2", "finished", "0", "0", "0", ""]

    before = contents(tmp_path)
    refused = command("embed", "--config", settings, "--set", "model.path=fake:16")
    assert (refused.returncode, refused.stdout) == (2, "")
    message = refused.stderr.partition("embedlake: ")[2]
    assert "space main holds vectors of another model" in message and "dimension was 8, is 16" in message
    assert "name a new space with the setting `space`" in message
    assert not NOISE.search(refused.stderr)
    assert contents(tmp_path) == before


@pytest.fixture
def submit(start: Start, bare_python: Path, wheel: Path, root: Path, small: dict[str, str], tmp_path: Path) -> Start:
    """Runs a job file with spark-submit, with the packages in a zip and a Python without them."""
    packages, scripts = tmp_path / "zip" / "embedlake.zip", tmp_path / "job"
    packages.parent.mkdir()
    scripts.mkdir()
    shutil.copyfile(wheel, packages)

    def run(job: str, *arguments: str | Path) -> Completed:
        script = shutil.copyfile(root / "spark_jobs" / f"{job}.py", scripts / f"{job}.py")
        return start(
            Path(get_path("scripts")) / "spark-submit",
            *("--master", "local[2]"),
            *("--properties-file", root / "conf" / "spark-local.conf"),
            *("--py-files", packages),
            *(part for key, value in small.items() for part in ("--conf", f"{key}={value}")),
            script,
            *arguments,
            PYSPARK_PYTHON=str(bare_python),
        )

    return run


# Worth its seconds: only spark-submit shows that a job file and the zip are enough on the driver and on the workers.
# The other jobs start in the same way; the next test shows that their files do.
def test_spark_submit_runs_the_jobs_with_the_packages_from_a_zip_alone(
    command: Command,
    submit: Start,
    start: Start,
    bare_python: Path,
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    query: Query,
    tmp_path: Path,
) -> None:
    for package in ("schemas", "udfs", "spark_jobs"):
        missing = start(bare_python, "-c", f"import {package}")
        assert f"No module named '{package}'" in missing.stderr

    source = write_json([document for document in DOCUMENTS if document["id"] == "void"])
    config = ("--config", write_settings(source, source=COLUMNS))
    # The tables are created in the live session, because a process that has just started takes much longer.
    command.embed(config[1])
    write_json(DOCUMENTS)
    done = submit("embed_library", *config)
    assert done.returncode == 0, done.stderr
    # spark-submit merges the program's two output streams; the summary comes last.
    assert [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()[-len(LABELS) :]] == LABELS
    rows = query(
        tmp_path / "lake" / "toy" / "main" / "vectors",
        "SELECT doc_id, chunk_index, token_count, text, lang FROM t ORDER BY doc_id",
    )
    assert rows == VECTORS

    searched = submit("search_library", *config, "Bees", "-k", "2", "--json")
    assert searched.returncode == 0, searched.stderr
    hits = [json.loads(line) for line in searched.stdout.splitlines() if line.startswith("{")]
    # The fake model gives equal texts equal vectors.
    assert {(hit["doc_id"], hit["text"]) for hit in hits} == {("bee", "Bees"), ("bees", "Bees")}
    for each in (done, searched):
        assert not re.search("Traceback|Exception", each.stdout + each.stderr)


# One process for all of them, because most of the time goes into importing the packages that they share.
HELP_ALL = """
import contextlib, io, json, runpy, sys
helped = {}
for job in sys.argv[1:]:
    sys.argv = [job, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        runpy.run_path(job, run_name="__main__")
    helped[job] = shown.getvalue()
print(json.dumps(helped))
"""


def test_every_job_file_is_a_program_of_its_own(start: Start, bare_python: Path, wheel: Path, root: Path) -> None:
    jobs = [path for path in root.joinpath("spark_jobs").glob("*.py") if path.name not in ("__init__.py", "cli.py")]
    done = start(bare_python, "-c", HELP_ALL, *jobs, PYTHONPATH=str(wheel))
    assert done.returncode == 0, done.stderr
    # A file that does not run its command prints nothing.
    silent = [job for job, shown in json.loads(done.stdout).items() if "--config" not in shown]
    assert (silent, len(jobs) > 5) == ([], True)
