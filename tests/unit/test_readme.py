"""The README says what is so: settings, defaults, targets, exit codes."""

import re
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from schemas.errors import InputError, QuarantineLimitError, ReconciliationError
from spark_jobs.settings import Settings, as_settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def table_rows(heading: str) -> list[list[str]]:
    section = README.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


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
    named = {key for row in table_rows("## Configuration") for key in re.findall(r"`([a-z_.]+)`", row[0])}
    named |= {"store.catalog", "store.schema"}  # these stand in the text of store.path
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
def test_defaults_are_those_of_the_code(key: str, default: str) -> None:
    (row,) = [row for row in table_rows("## Configuration") if f"`{key}`" in row[0]]
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


def test_exit_codes_are_those_of_the_errors() -> None:
    codes = {row[0] for row in table_rows("### On a schedule")}
    raised = {error.exit_code for error in (InputError, QuarantineLimitError, ReconciliationError)}
    assert codes == {"0", "1", "130", *map(str, raised)}
