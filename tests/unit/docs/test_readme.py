"""The README matches the code: settings, defaults, make targets, exit codes."""

import re
import signal
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from typer.main import get_command

from schemas.errors import (
    InputError,
    QuarantineLimitError,
    ReconciliationError,
    RunActiveError,
    SourceError,
    StoppedError,
)
from schemas.reasons import REASONS
from spark_jobs.cli import app
from spark_jobs.settings import Settings, as_settings
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def table_rows(first: str) -> list[list[str]]:
    """The rows of the table whose header begins with a cell."""
    table = README.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def known_settings(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= known_settings(field.annotation, key + ".")
        else:
            found[key] = field.default
    return found


def test_the_table_names_every_setting_and_no_other() -> None:
    named = {key for row in table_rows("setting") for key in re.findall(r"`([a-z_.]+)`", row[0])}
    named |= {"store.catalog", "store.schema"}  # named in the text of store.path
    assert named == set(known_settings(Settings))


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("run.slice_tokens", "`auto`"),
        ("run.slice_seconds", "600"),
        ("run.stale_after_seconds", "3,600"),
        ("run.max_attempts", "3"),
        ("run.on_failed_update", "`keep`"),
        ("maintenance.file_megabytes", "256"),
        ("maintenance.retention_hours", "168"),
        ("run.max_quarantined_fraction", "0.01"),
        ("run.max_removed_fraction", "0.3"),
        ("model.dtype", "`auto`"),
        ("chunking.method", "`structure`"),
        ("store.vector_encoding", "`byte_stream_split`"),
    ],
)
def test_documented_defaults_match_the_code(key: str, default: str) -> None:
    (row,) = [row for row in table_rows("setting") if f"`{key}`" in row[0]]
    assert row[1] == default
    value = known_settings(Settings)[key]
    assert default.strip("`") == (f"{value:,}" if isinstance(value, int) else str(value))


def test_the_shortest_settings_are_accepted() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert as_settings(yaml.safe_load(block)).library == "handbook"


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"make ([a-z-]+)", README)) - {"install"}
    assert named
    assert not {target for target in named if f"\n{target}:" not in MAKEFILE}


def test_documented_exit_codes_match_the_errors() -> None:
    codes = {code for row in table_rows("exit code") for code in row[0].split(", ")}
    errors = (InputError, QuarantineLimitError, RunActiveError, SourceError, ReconciliationError)
    stopped = {StoppedError(number).exit_code for number in (signal.SIGINT, signal.SIGTERM)}
    assert codes == {"0", "1", *map(str, {error.exit_code for error in errors} | stopped)}


def test_documented_quarantine_reasons_match_the_code() -> None:
    assert [row[0].strip("`") for row in table_rows("reason")] == list(REASONS)


def test_documented_commands_and_options_match_the_code() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = {row[0].strip("`").removeprefix("embedlake ") for row in table_rows("other command")}
    assert named == set(commands) - {"embed", "version"}
    options = {row[0].strip("`") for row in table_rows("option of `embed`")}
    known = {option for parameter in commands["embed"].params for option in parameter.opts}
    assert options == known - {"--config", "--set", "--debug", "-c"}
