"""The installed command with a collector: JSON on standard error, spans and metrics over OTLP."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Completed
from tests.support.otlp_receiver import collector

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

DOCUMENTS = [{"id": "owl", "body": "They hunt at night."}, {"id": "void", "body": " "}]


# Worth its seconds: only a process shows that everything is sent before it ends, and that nothing else is written.
def test_a_command_sends_its_run_and_logs_json(
    embedlake: Callable[..., Completed], write_json: Callable[..., Path], write_settings: Callable[..., Path]
) -> None:
    settings = write_settings(write_json(DOCUMENTS), source={"text_columns": ["body"]}, cost={"per_hour": 60})
    with collector() as received:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint, "OTEL_SERVICE_NAME": "nightly"}
        done = embedlake("embed", "--config", settings, "--log-format", "json", **variables)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (end,) = [event for event in events if event["event"] == "run_ended"]
    assert (end["run"], end["outcome"], end["counts"]["library_empty"]) == ("toy.main.1", "finished", 1)
    assert not [event for event in events if event["level"] != "info"]

    (root,) = [span for span in received.spans if span.parent == ""]
    steps = {event["step"] for event in events if event["event"] == "step_ended"}
    assert {span.name for span in received.spans} == {"run", "slice", *steps}
    assert root.attributes["embedlake.run"] == "toy.main.1"
    assert received.resource["service.name"] == "nightly"
    where = {"library": "toy", "space": "main"}
    assert received.value("embedlake.documents", **where) == 2
    # Words and punctuation marks, plus two special tokens.
    assert received.value("embedlake.tokens", **where) == 7
    assert received.value("embedlake.backlog", **where) == 0
    assert received.value("embedlake.cost", **where, currency="USD") == pytest.approx(end["cost"], rel=1e-6)
    # A second of this session costs a minute's sixtieth of a dollar.
    assert end["cost"] == pytest.approx(end["seconds"] / 60, rel=0.01)
