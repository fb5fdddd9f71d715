"""What a command writes on standard error: lines for people, or a JSON object a line for machines."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas.errors import InputError
from spark_jobs.cli import app
from spark_jobs.runtime import command
from spark_jobs.runtime.command import ended, tell
from spark_jobs.runtime.events import Event
from spark_jobs.runtime.log import current_log, logged
from spark_jobs.runtime.progress import Progress

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def events(written: str) -> list[dict[str, Any]]:
    """The events of lines, without their times, which must be UTC."""
    found = [json.loads(line) for line in written.splitlines()]
    assert all(TIME.fullmatch(event.pop("time")) for event in found)
    return found


def work(progress: Progress) -> None:
    with progress.live() as shown:
        shown.know(library="books", space="main")
        with shown.step("plan"):
            shown.say("by full comparison")
        of_slice = shown.of_slice(2, 10, 30, 4)
        with of_slice.behind().step("merge vectors"):
            of_slice.warn("the model can hardly read it")


def test_every_event_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with logged("json") as log:
        work(log.progress())
    out, err = capsys.readouterr()
    found = events(err)
    assert out == ""
    assert [event.pop("level") for event in found] == ["info"] * 6 + ["warning"] + ["info"] * 2
    assert all(event.pop("seconds") >= 0 for event in found if event["event"] in ("step_ended", "job_ended"))
    main = {"library": "books", "space": "main"}
    assert found == [
        {"event": "job_started"},
        {"event": "step_started", **main, "step": "plan"},
        {"event": "note", **main, "message": "by full comparison"},
        {"event": "step_ended", **main, "step": "plan", "outcome": "finished"},
        {"event": "slice_started", **main, "slice": 2, "documents": 4, "tokens": 30},
        {"event": "step_started", **main, "slice": 2, "step": "merge vectors"},
        {"event": "warning", **main, "slice": 2, "message": "the model can hardly read it"},
        {"event": "step_ended", **main, "slice": 2, "step": "merge vectors", "outcome": "finished"},
        {"event": "job_ended", **main, "outcome": "finished"},
    ]


def test_people_read_a_line_for_each_step_that_they_wait_for() -> None:
    shown = io.StringIO()
    work(Progress(Console(file=shown)))
    lines = shown.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == ["plan", "by full comparison", "warning: the model can hardly read it"]


def test_a_step_and_a_job_that_fail_say_so() -> None:
    seen: list[Event] = []
    progress = Progress(observers=(seen.append,))
    with pytest.raises(ValueError, match="x"), progress.live(), progress.step("plan"):
        raise ValueError("x")
    ends = [event.values["outcome"] for event in seen if event.name.endswith("ended")]
    assert ends == ["failed", "failed"]


def test_an_error_has_its_message_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with logged("json") as log:
        log.about.update(library="books")
        assert tell(InputError("no such space. Check it."), "embedlake: space next: ", space="next") == 2
    assert events(capsys.readouterr().err) == [
        {
            "level": "error",
            "event": "error",
            "library": "books",
            "space": "next",
            "message": "no such space. Check it.",
            "exit_code": 2,
        }
    ]
    assert current_log().format == "text"
    tell(InputError("no such space. Check it."), "embedlake: space next: ")
    assert capsys.readouterr().err == "embedlake: space next: no such space. Check it.\n"


@pytest.mark.parametrize(
    ("error", "debug", "level", "event", "code"),
    [
        (InputError("it is empty"), False, "error", "error", 2),
        (InputError("it is empty"), True, "error", "trace", 1),
        (KeyboardInterrupt(), False, "warning", "stopped", 130),
    ],
)
def test_however_a_command_ends_its_last_line_is_json(
    capsys: pytest.CaptureFixture[str], error: BaseException, debug: bool, level: str, event: str, code: int
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        ended(fail, debug, "json")
    (found,) = events(capsys.readouterr().err)
    assert (found["level"], found["event"], found["exit_code"], caught.value.code) == (level, event, code, code)
    assert ("it is empty" in found["message"]) == (event != "stopped")
    assert ("Traceback" in found["message"]) == debug


@pytest.mark.parametrize("verb", sorted(str(one.name) for one in app.registered_commands if not one.hidden))
def test_every_command_writes_json_if_asked_to(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "get_session", lambda *_, **__: None)
    needed = {"export": ["--to=parquet:out"], "compare": ["--space=x"], "promote": ["--space=x"], "drop": ["--space=x"]}
    needed["report"] = ["--out=page.html"]
    asked = [verb, "--config", str(tmp_path / "none.yaml"), *needed.get(verb, [])]
    result = CliRunner().invoke(app, [*asked, "--log-format=json"])
    plain = CliRunner().invoke(app, asked)
    (found,) = events(result.stderr)
    assert plain.stderr == f"embedlake: {found['message']}\n"
    assert (result.exit_code, found["level"], found["exit_code"], result.stdout) == (2, "error", 2, "")
