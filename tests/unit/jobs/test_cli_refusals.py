"""What the command line refuses before it starts Spark."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from schemas.errors import InputError
from spark_jobs.cli import app
from spark_jobs.runtime import command
from spark_jobs.settings.sections import SparkSettings
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
        ("library: [", [], "settings file settings.yaml is not YAML that can be used"),
        ("library: !!bool perhaps", [], "settings file settings.yaml is not YAML that can be used"),
        ("", [], "settings file settings.yaml holds no settings"),
        (GOOD + "modle: 1\n", [], "modle is not a setting: did you mean model?"),
        (GOOD, ["--set", "run.slice_tokens=0"], "run.slice_tokens: should be greater than or equal to 1, not 0"),
        (GOOD, ["--set", "run.slice_tokens"], "--set run.slice_tokens: write key=value"),
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


def test_an_unexpected_error_is_one_line(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: SparkSettings, **options: object) -> None:
        raise RuntimeError("first line\n  at org.apache.spark.Somewhere")

    monkeypatch.setattr(command, "get_session", broken)
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    result = run("status", "--config", "settings.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "embedlake: first line (unexpected; --debug shows where)\n"


def test_an_interrupt_says_that_commits_are_kept(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(settings: SparkSettings, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "get_session", interrupted)
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    result = run("status", "--config", "settings.yaml")
    assert result.exit_code == 130
    assert result.stderr == ("embedlake: stopped; what was committed stays: run the same command again to go on\n")


def test_an_environment_variable_that_is_not_a_setting_is_refused(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_folder.joinpath("settings.yaml").write_text(GOOD)
    monkeypatch.setenv("EMBEDLAKE_MODEL__DTYP", "float32")
    result = run("embed", "--config", "settings.yaml")
    assert result.exit_code == 2
    assert "model.dtyp is not a setting: did you mean dtype?" in result.stderr


@pytest.mark.parametrize("arguments", [["embed"], ["embed", "--config"], ["embde"], ["embed", "--confg", "x"]])
def test_wrong_arguments_are_refused(empty_folder: Path, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert list(empty_folder.iterdir()) == []


def test_debug_shows_where_an_error_comes_from() -> None:
    result = run("embed", "--config", "missing.yaml", "--debug")
    assert result.exit_code == 1
    assert "cannot be read" in str(result.exception)


def test_the_version_is_printed() -> None:
    result = run("version")
    assert (result.exit_code, result.stdout) == (0, f"{__version__}\n")
