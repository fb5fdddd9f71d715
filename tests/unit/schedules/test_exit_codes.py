"""Every schedule knows every exit code."""

import ast
import configparser
from pathlib import Path

import pytest

from tests.support.exit_codes import BUSY, CAPPED, DONE, EVERY, LOOKED_AT, REPEATED, WORK_TO_DO
from tests.support.paths import ROOT

SCHEDULES = ROOT / "conf" / "schedules"


def unit(name: str) -> dict[str, set[str]]:
    """The settings of a unit of systemd; some occur more than once."""
    found: dict[str, set[str]] = {}
    for line in (SCHEDULES / "systemd" / name).read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[key] = found.get(key, set()) | {value}
    return found


def codes(settings: dict[str, set[str]], name: str) -> set[int]:
    return {int(code) for value in settings.get(name, set()) for code in value.split()}


def test_the_table_has_every_documented_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.split("\n| exit code | meaning |\n")[1].split("\n\n")[0].splitlines()[1:]
    assert tuple(sorted(int(code) for row in table for code in row.split("|")[1].split(","))) == EVERY


def test_the_page_on_schedules_has_every_code_once() -> None:
    page = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    table = page.split("\n| code | cron | systemd | Airflow | Kubernetes |\n")[1].split("\n\n")[0].splitlines()[1:]
    assert sorted(int(code) for row in table for code in row.split("|")[1].split(",")) == list(EVERY)


def test_airflow_knows_every_code() -> None:
    """The file is read, not imported: Airflow is not in this environment."""
    tree = ast.parse((SCHEDULES / "airflow" / "embedlake_dag.py").read_text(encoding="utf-8"))
    (table,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OUTCOMES"
    ]
    wanted = {DONE: "success", WORK_TO_DO: "success", BUSY: "skip", CAPPED: "fail"}
    assert table == wanted | dict.fromkeys(REPEATED, "retry") | dict.fromkeys(LOOKED_AT, "fail")


@pytest.mark.parametrize(
    ("name", "fine", "final"),
    [
        ("embedlake@.service", {BUSY, 143}, {*LOOKED_AT, BUSY, CAPPED}),
        # A follower waits for other runs by itself.
        ("embedlake-follow@.service", {143}, {*LOOKED_AT, CAPPED}),
        # Comes once a week, so it waits for a run that is active.
        ("embedlake-upkeep@.service", {143}, {*LOOKED_AT, CAPPED}),
    ],
)
def test_systemd_knows_every_code(name: str, fine: set[int], final: set[int]) -> None:
    settings = unit(name)
    assert codes(settings, "SuccessExitStatus") == fine
    assert codes(settings, "RestartPreventExitStatus") == final
    assert settings["Restart"] == {"on-failure"}
    # A signal that was not meant for the unit must not end it for good; units of type oneshot cannot say so.
    assert codes(settings, "RestartForceExitStatus") == (set() if settings["Type"] == {"oneshot"} else {130, 143})
    assert not (final & set(REPEATED))


def test_units_of_systemd_differ_in_nothing_but_their_purpose() -> None:
    """What a process may do, and how it ends, is written out in each, so that each can be copied alone."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((SCHEDULES / "systemd").glob("*.service"))]
    common = {text.split("# SIGTERM goes")[1].split("\n[Install]")[0].strip() for text in texts if "KillMode" in text}
    assert len(common) == 1


def test_no_unit_repeats_a_setting_by_mistake() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    several = {"Environment", "ExecStart"}
    for path in sorted(Path(SCHEDULES / "systemd").iterdir()):
        lines = [line.partition("=")[0] for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isupper()]
        assert not {name for name in lines if lines.count(name) > 1} - several, path.name
