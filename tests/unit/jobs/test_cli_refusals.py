"""What the command line refuses before it starts Spark."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from schemas.errors import InputError
from spark_jobs.cli import app, task
from spark_jobs.runtime import command
from spark_jobs.settings.sections import SparkSettings
from tests.conftest import ROOT
from udfs import __version__

GOOD = """
library: handbook
store: {path: ./lake}
source: {format: parquet, path: ./books, id_column: id, text_columns: [body]}
model: {path: "fake:8"}
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Settings may come from the environment, and an unknown name is refused.
    for name in ("TEST_MODEL_FOLDER", "TEST_DATA_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("verb", ["embed", "status"])
@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        (None, [], "settings file settings.yaml cannot be read: No such file or directory"),
        ("library: [", [], "settings file settings.yaml cannot be parsed"),
        ("library: !!bool perhaps", [], "settings file settings.yaml cannot be parsed"),
        ("", [], "settings file settings.yaml contains no settings"),
        (GOOD + "modle: 1\n", [], "modle is not a setting. Did you mean model?"),
        (GOOD, ["--set", "run.slice_tokens=0"], "run.slice_tokens: should be greater than or equal to 1, not 0"),
        (GOOD, ["--set", "run.slice_tokens"], "--set run.slice_tokens is not a setting. Write key=value"),
        ("library: a b", [], "4 faults:\n  - library: "),
    ],
)
def test_invalid_settings_are_refused(
    empty_folder: Path, verb: str, settings: str | None, arguments: list[str], message: str
) -> None:
    if settings is not None:
        empty_folder.joinpath("settings.yaml").write_text(settings)
    before = sorted(empty_folder.rglob("*"))
    result = run(verb, "--config", "settings.yaml", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("embedlake: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert sorted(empty_folder.rglob("*")) == before


def test_valid_settings_reach_the_session(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_session(settings: SparkSettings, **options: object) -> None:
        raise InputError(f"no session on {settings.master}")

    monkeypatch.setattr(command, "get_session", no_session)
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    result = run("embed", "--config", "settings.yaml", "--set", "spark.master=local[1]")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "embedlake: no session on local[1]" in result.stderr
    assert sorted(path.name for path in empty_folder.rglob("*")) == ["settings.yaml"]


def test_an_unexpected_error_is_one_line_without_its_text(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: SparkSettings, **options: object) -> None:
        raise RuntimeError("a text of a document\n  at org.apache.spark.Somewhere")

    monkeypatch.setattr(command, "get_session", broken)
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    result = run("status", "--config", "settings.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "embedlake: RuntimeError (unexpected; --debug shows where)\n"


def test_an_interrupt_says_that_commits_are_kept(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(settings: SparkSettings, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "get_session", interrupted)
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    result = run("status", "--config", "settings.yaml")
    assert result.exit_code == 130
    assert result.stderr == ("embedlake: stopped. What was committed stays. Run the same command again to continue.\n")


def test_an_environment_variable_that_is_not_a_setting_is_refused(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    monkeypatch.setenv("EMBEDLAKE_MODEL__DTYP", "float32")
    result = run("embed", "--config", "settings.yaml")
    assert result.exit_code == 2
    assert "model.dtyp is not a setting. Did you mean dtype?" in result.stderr


@pytest.mark.parametrize("arguments", [["embed"], ["embed", "--config"], ["embde"], ["embed", "--confg", "x"]])
def test_wrong_arguments_are_refused(empty_folder: Path, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert list(empty_folder.iterdir()) == []


def test_debug_shows_where_an_error_comes_from() -> None:
    result = run("embed", "--config", "missing.yaml", "--debug")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith(
        "schemas.errors.InputError: settings file missing.yaml cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_printed(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, f"{__version__}\n")


COMMANDS = {
    "embed": "embed_library",
    "plan": "plan_library",
    "follow": "follow_library",
    "calibrate": "calibrate_inference",
    "search": "search_library",
    "evaluate": "evaluate_library",
    "export": "export_library",
    "spaces": "list_spaces",
    "compare": "compare_spaces",
    "promote": "promote_space",
    "rollback": "rollback_space",
    "drop": "drop_space",
    "doctor": "check_platform",
    "status": "show_status",
    "report": "report_library",
    "quarantine": "list_quarantine",
    "verify": "verify_space",
    "maintain": "maintain_space",
}


def test_no_help_page_shows_a_type_behind_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    pages = {name: run(*([name] if name else []), "--help").stdout for name in ["", *COMMANDS, "version"]}
    assert all("--help" in page for page in pages.values())
    assert [name for name, page in pages.items() if "<bool>" in page or "BOOLEAN" in page] == []
    listed = re.findall(r"^│ (\w+) ", pages[""], re.MULTILINE)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_job_file_ends_as_its_command_does(
    verb: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer sets one of its own
    needed = {
        "export": ["--to", "parquet:out"],
        "compare": ["--space", "next"],
        "promote": ["--space", "next"],
        "drop": ["--space", "old"],
    }
    arguments = ["--config", "missing.yaml", *needed.get(verb, [])]
    for more in ([], ["--debug"], ["--no-such-option"]):
        expected = run(verb, *arguments, *more)
        monkeypatch.setattr(sys, "argv", [verb, *arguments, *more])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "spark_jobs" / f"{COMMANDS[verb]}.py"), run_name="__main__")
        assert caught.value.code == expected.exit_code
        out, err = capsys.readouterr()
        assert (out, err.splitlines()[-1]) == ("", expected.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--space'"),
        (["--space", "next", "--sample", "0"], "--sample is 0. Ask for 1 to 20,000 documents."),
        (["--space", "next", "--sample", "x"], "Invalid value for '--sample'"),
        (["--space", "next", "-k", "101"], "-k is 101. Ask for 1 to 100 documents."),
        (["--space", "next", "--queries", "q.jsonl"], "--queries and --judgements go together."),
        (["--space", "next", "--out", "none/result.json"], "--out none/result.json cannot be written."),
        (["--space", "a b"], "space: String should match pattern"),
        (
            ["--space", "next", "--set", "cost.per_hour=-1"],
            "cost.per_hour: should be greater than or equal to 0, not -1",
        ),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    # Options are looked at before the session is asked for anything.
    monkeypatch.setattr(command, "get_session", lambda *_, **__: None)
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    result = run("compare", "--config", "settings.yaml", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())


def test_a_stack_trace_shows_no_values(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(settings: SparkSettings, **options: object) -> None:
        text = "".join(["sec", "ret"])
        raise RuntimeError(f"a text of {len(text)} characters")

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(command, "get_session", broken)
    monkeypatch.setattr(sys, "argv", ["show_status", "--config", "settings.yaml", "--debug"])
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "spark_jobs" / "show_status.py"), run_name="__main__")
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert shown.endswith("RuntimeError: a text of 6 characters\n")
    assert "secret" not in shown


def test_arguments_are_utf_8_whatever_the_locale_says() -> None:
    # As with a locale such as en_US.ISO-8859-1, which few machines have.
    other = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    asked = [sys.executable, "-c", "from spark_jobs.cli import main; main()", "embed", "--config", "Übersicht.yaml"]
    done = subprocess.run(asked, cwd=ROOT, env={**os.environ, **other}, capture_output=True, check=False)
    assert done.stderr.decode() == (
        "embedlake: settings file Übersicht.yaml cannot be read: No such file or directory\n"
    )
    assert done.returncode == 2


def test_a_job_that_python_would_give_other_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(SystemExit, match="2"):
        command.guarded(lambda _: None, Path("settings.yaml"), None, debug=False)


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_java_process_that_died_is_named_as_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_folder: Path, has_ended: bool
) -> None:
    def fail(_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    monkeypatch.setattr(command, "ends_java", lambda _: has_ended)
    with pytest.raises(SystemExit, match="1"):
        command.guarded(fail, Path("settings.yaml"), None, debug=False)
    told = capsys.readouterr().err
    assert ("Spark's Java process died" in told and "spark.driver.memory" in told) == has_ended


def test_a_task_of_a_platform_ends_the_process_for_failures_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["embedlake-task", "--version"])
    task()
    assert capsys.readouterr().out == f"{__version__}\n"
    monkeypatch.setattr(sys, "argv", ["embedlake-task", "embed", "--config", "nothing.yaml"])
    with pytest.raises(SystemExit) as caught:
        task()
    assert caught.value.code == 2
