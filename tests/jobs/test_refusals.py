"""What the command refuses: exit code 2, one message that says what to fix, and nothing written."""

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.jobs

Start = Callable[..., subprocess.CompletedProcess[str]]
Paths = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Callable[..., list[str]]:
    """Calls `embed` and returns the faults that it reports."""

    def call(settings: Path, *arguments: str, code: int = 2) -> list[str]:
        before = contents(tmp_path)
        answer = command("embed", "--config", settings, *arguments)
        assert contents(tmp_path) == before
        assert (answer.returncode, answer.stdout) == (code, "")
        # Progress also goes to standard error: one line for each step, then the message.
        progress, _, message = answer.stderr.partition("embedlake: ")
        steps = [line[9:] for line in progress.splitlines()]
        # Ids are checked while source and ledger are compared.
        assert len(steps) > 1 and steps == ["session", "pre-flight", "compare"][: len(steps)]
        assert "Traceback" not in message and "org.apache" not in message
        first, *more = message.splitlines()
        if not more:
            return [first]
        assert first == f"{len(more)} faults:"
        assert all(line.startswith("  - ") for line in more)
        return [line.removeprefix("  - ") for line in more]

    return call


def test_columns_that_the_source_lacks_are_named_with_those_it_has(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    source = write_json([{"key": 1, "Text": "Bees fly.", "lang": "en"}])
    faults = refused(write_settings(source, source={"payload_columns": ["lang", "team"]}), code=5)
    assert faults == [
        f"the source {source}: it has no column {name!r}, which source.{key} names. "
        "Its columns are 'Text', 'key', 'lang'."
        for name, key in [("id", "id_column"), ("text", "text_columns"), ("team", "payload_columns")]
    ]
    assert not tmp_path.joinpath("lake").exists()


def test_null_and_repeated_ids_are_counted_and_shown(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    ids = ["owl", "owl", "owl", "bee", None, "ant", "bee", None]
    faults = refused(write_settings(write_json([{"id": key, "text": "Some text."} for key in ids])))
    assert faults == [
        "source.id_column id is null in 2 rows. Give every document an id, or exclude these rows by source.filter.",
        "source.id_column id: 2 ids occur in more than one row, such as ['bee', 'owl']. Make ids unique.",
    ]
    assert not tmp_path.joinpath("lake").exists()


def test_columns_of_the_wrong_type_and_names_that_clash_are_reported_at_once(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    document = {"id": 1.5, "text": 7, "text_hash": "x", "two words": "x", "tick`": "x", "Embedding": 1}
    payload = ["text_hash", "two words", "tick`", "Embedding"]
    source = write_json([document])
    faults = refused(write_settings(source, source={"payload_columns": payload}), code=5)
    assert all(fault.startswith(f"the source {source}: ") for fault in faults)
    bad = "has a character that Delta does not accept in names (one of ' ,;{}()\\n\\t=`'). Rename it in a view."
    assert {fault.removeprefix(f"the source {source}: ") for fault in faults} == {
        "id column 'id' is double, but ids are strings or whole numbers. Cast it in a view.",
        "text column 'text' is bigint, not string. Cast it in a view.",
        "payload column 'text_hash' clashes with a column of vectors. Rename it in a view.",
        "payload column 'Embedding' clashes with a column of vectors. Rename it in a view.",
        f"payload column 'two words' {bad}",
        f"payload column 'tick`' {bad}",
    }
    assert not tmp_path.joinpath("lake").exists()


def test_a_list_is_no_id(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    source = write_json([{"id": ["owl"], "text": "Owls hunt."}])
    (fault,) = refused(write_settings(source), code=5)
    assert fault == (
        f"the source {source}: id column 'id' is array<string>, but ids are strings or whole numbers. "
        "Cast it in a view."
    )
    assert not tmp_path.joinpath("lake").exists()


def test_a_source_without_documents_is_refused(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    settings = write_settings(write_json([{"id": 1, "text": "Owls hunt."}]), source={"filter": "id > 1"})
    assert refused(settings) == ["the source has no documents. Check source.path, source.table and source.filter."]
    (fault,) = refused(settings, "--set", f"source.path={tmp_path / 'absent.jsonl'}")
    assert "the source" in fault and "absent.jsonl" in fault
    assert not tmp_path.joinpath("lake").exists()


def test_an_empty_file_is_refused(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    source = write_json([])
    fault = f"the source {source}: it has no columns. Check that it is not empty and that source.format is right."
    assert refused(write_settings(source), code=5) == [fault]
    assert not tmp_path.joinpath("lake").exists()


def test_faults_of_model_store_and_source_come_in_one_message(
    refused: Callable[..., list[str]], write_json: Paths, write_settings: Paths, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    model.joinpath("config.json").write_text('{"model_type": "bert"}')
    model.joinpath("pytorch_model.bin").write_bytes(pickle.dumps({"weights": 1}))
    file = tmp_path / "a_file"
    file.write_text("not a folder")
    settings = write_settings(
        write_json([{"id": "owl", "text": "Owls hunt."}, {"id": "owl", "text": "Owls hunt."}]),
        store={"path": str(file / "lake")},
        model={"path": str(model)},
    )
    others = [
        f"store.path {file / 'lake'} cannot be used because {file} is a file. "
        "Choose a folder that the job may write to.",
        "source.id_column id: 1 ids occur in more than one row, such as ['owl']. Make ids unique.",
    ]
    pickled, *incomplete, store, ids = refused(settings)
    assert pickled == (
        f"{model / 'pytorch_model.bin'}: .bin files are not allowed, as only safetensors weights are read. "
        "Convert or remove it."
    )
    assert incomplete and all(fault.startswith(f"{model}{os.sep}") for fault in incomplete)
    assert [store, ids] == others

    absent = tmp_path / "absent"
    assert refused(settings, "--set", f"model.path={absent}") == [
        f"{absent} is neither a folder nor a hub name. Name a model folder, or owner/name with a revision.",
        *others,
    ]


def test_without_java_the_command_says_what_it_needs(
    embedlake: Start,
    start: Start,
    bare_python: Path,
    root: Path,
    write_json: Paths,
    write_settings: Paths,
    tmp_path: Path,
) -> None:
    settings = write_settings(write_json([{"id": "owl", "text": "Owls hunt."}]))
    empty = tmp_path / "empty"
    empty.mkdir()
    done = embedlake("embed", "--config", settings, JAVA_HOME=str(empty))
    assert (done.returncode, done.stdout) == (2, "")
    message = f"embedlake: JAVA_HOME is {empty}, but {empty}/bin/java does not exist. Correct or unset it."
    assert done.stderr.splitlines()[1:] == [message]

    # Java is neither next to this Python nor on the path.
    code = "import sys; from spark_jobs.cli import main; sys.argv[0] = 'embedlake'; main()"
    run = (bare_python, "-c", code, "embed", "--config", settings)
    done = start(*run, PYTHONPATH=str(root), JAVA_HOME=None, PATH=str(empty))
    assert (done.returncode, done.stdout) == (2, "")
    message = "embedlake: Spark needs Java 17 or newer, and none was found. Install it, or set JAVA_HOME to its folder."
    assert done.stderr.splitlines()[1:] == [message]
    assert not tmp_path.joinpath("lake").exists()


def test_debug_shows_the_stack(embedlake: Start, tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    plain, debugged = embedlake("embed", "--config", missing), embedlake("embed", "--config", missing, "--debug")
    message = f"settings file {missing} cannot be read: No such file or directory"
    assert (plain.returncode, plain.stdout, plain.stderr) == (2, "", f"embedlake: {message}\n")
    assert debugged.returncode != 0
    assert debugged.stderr.startswith("Traceback (most recent call last):")
    assert debugged.stderr.endswith(f"schemas.errors.InputError: {message}\n")
