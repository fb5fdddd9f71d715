"""Spans and metrics as a collector gets them, and what a run notices of a collector that does not answer."""

import importlib.util
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import InputError
from spark_jobs.runtime.command import ended
from spark_jobs.runtime.log import current_log
from spark_jobs.runtime.progress import Progress
from tests.support.otlp_receiver import Received, Span, collector

MAIN = {"library": "books", "space": "main"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_") or name in ("TRACEPARENT", "TRACESTATE"):
            monkeypatch.delenv(name)


def a_run(progress: Progress) -> None:
    with progress.live():
        with progress.step("session"):
            pass
        progress.know(**MAIN, run="books.main.7")
        progress.tell("run_started", {"model": "fake:8", "source_version": 3})
        progress.tell("plan", {"backlog": 30, "documents": {"added": 30}})
        first = progress.of_slice(1, 0, 100, 20)
        with first.step("embed"):
            pass
        # The first slice is committed while the second one is embedded.
        second = progress.of_slice(2, 100, 50, 10)
        with second.step("embed"), first.behind().step("merge vectors"):
            pass
        price = {"currency": "EUR", "tokens_per_second": 40.5}
        done = {"documents": 20, "chunks": 25, "tokens_embedded": 90, "backlog": 10, "cost": 1.5}
        first.tell("slice_committed", {**done, **price})
        done = {"documents": 30, "chunks": 37, "tokens_embedded": 140, "backlog": 0, "cost": 2.0}
        second.tell("slice_committed", {**done, **price})
        counts = {"library_quarantined": 4, "added": 30}
        end = {"outcome": "finished", "counts": counts, "source_age": 90.0, "cost": 2.25, "currency": "EUR"}
        progress.tell("run_ended", end)


def sent(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, **variables: str) -> Received:
    """What a collector gets of a command."""
    with collector() as received:
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint, **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("spark_jobs.runtime.telemetry._LEAST_SECONDS", 20.0)
        monkeypatch.setattr("spark_jobs.runtime.telemetry._MOST_SECONDS", 20.0)
        try:
            ended(work, debug=False)
        except SystemExit as end:
            assert end.code
    return received


def tree(spans: list[Span], parent: str = "") -> dict[str, Any]:
    return {span.name: tree(spans, span.id) for span in spans if span.parent == parent}


def test_a_run_is_a_trace_and_its_numbers_are_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received = sent(lambda: a_run(current_log().progress(is_silent=True)), monkeypatch)
    assert capsys.readouterr() == ("", "")
    assert (received.resource["service.name"], "service.version" in received.resource) == ("embedlake", True)
    assert len({span.trace for span in received.spans}) == 1
    (run,) = [span for span in received.spans if span.parent == ""]
    assert run.name == "run"
    slices = sorted((span for span in received.spans if span.name == "slice"), key=lambda span: span.start)
    assert sorted(span.name for span in received.spans if span.parent == run.id) == ["session", "slice", "slice"]
    assert [sorted(tree(received.spans, each.id)) for each in slices] == [["embed", "merge vectors"], ["embed"]]
    assert all(run.start <= span.start <= span.end <= run.end for span in received.spans)
    assert not any(span.failed for span in received.spans)
    named = {f"embedlake.{name}": value for name, value in {**MAIN, "run": "books.main.7", "model": "fake:8"}.items()}
    assert named.items() <= run.attributes.items()
    assert run.attributes["embedlake.added"] == 30 and run.attributes["embedlake.source_version"] == 3
    assert [each.attributes["embedlake.tokens"] for each in slices] == [100, 50]

    values = {name: received.value(f"embedlake.{name}", **MAIN) for name in ("documents", "chunks", "tokens")}
    assert values == {"documents": 30, "chunks": 37, "tokens": 140}
    gauges = {name: received.value(f"embedlake.{name}", **MAIN) for name in ("rate", "backlog", "quarantined")}
    assert gauges == {"rate": 40.5, "backlog": 0, "quarantined": 4}
    assert 90 <= received.value("embedlake.freshness", **MAIN) < 120
    assert received.value("embedlake.cost", **MAIN, currency="EUR") == 2.25
    assert received.value("embedlake.runs", **MAIN, outcome="finished") == 1
    assert received.value("embedlake.step.duration", **MAIN, step="embed") == 2
    assert (received.units["embedlake.rate"], received.units["embedlake.freshness"]) == ("{token}/s", "s")


def test_why_a_run_failed_is_in_its_span(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        with current_log().progress(is_silent=True).live() as progress:
            progress.know(**MAIN, run="books.main.8")
            progress.tell("run_started", {})
            progress.warn("it is slow")
            with progress.of_slice(1, 0, 10, 2).step("embed"):
                raise InputError("the source is gone. Check it.")

    received = sent(fail, monkeypatch)
    (run,) = [span for span in received.spans if span.parent == ""]
    assert (run.failed, run.message) == (True, "the source is gone. Check it.")
    assert [name for name, _ in run.events] == ["warning", "error"]
    assert sorted((span.name, span.failed) for span in received.spans) == [
        *(("embed", True), ("run", True), ("slice", True))
    ]


def test_several_runs_of_a_session_are_several_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        for number in (1, 2):
            with current_log().progress(is_silent=True).live() as progress:
                progress.know(**MAIN, run=f"books.main.{number}")
                progress.tell("run_started", {})

    received = sent(work, monkeypatch)
    assert [span.attributes["embedlake.run"] for span in received.spans] == ["books.main.1", "books.main.2"]
    assert len({span.trace for span in received.spans}) == 2


def test_the_standard_variables_name_the_service_and_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    received = sent(
        lambda: a_run(current_log().progress(is_silent=True)),
        monkeypatch,
        OTEL_SERVICE_NAME="nightly",
        OTEL_RESOURCE_ATTRIBUTES="team=search",
        OTEL_METRICS_EXPORTER="none",
        TRACEPARENT=parent,
    )
    assert (received.resource["service.name"], received.resource["team"]) == ("nightly", "search")
    assert {span.trace for span in received.spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert [span.name for span in received.spans if span.parent == "b7ad6b7169203331"] == ["run"]
    assert received.points == {}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "OTEL_SDK_DISABLED": "true"},
        {
            **{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"},
            **{"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        },
    ],
)
def test_nothing_is_loaded_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)
    seen: list[int] = []
    ended(lambda: seen.append(len(current_log().observers)), debug=False)
    assert (seen, capsys.readouterr().err) == ([0], "")
    assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)


def test_a_missing_package_is_named_once_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318/v1/traces")
    monkeypatch.setattr("spark_jobs.runtime.telemetry.find_spec", lambda _: None)
    ended(lambda: a_run(current_log().progress(is_silent=True)), debug=False)
    assert capsys.readouterr().err == (
        "embedlake: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, but OpenTelemetry is not installed. Run pip install "
        "'embedlake[otel]'.\n"
    )
    assert importlib.util.find_spec("opentelemetry.sdk")


def test_another_protocol_is_refused_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    ended(lambda: None, debug=False)
    assert capsys.readouterr().err == (
        "embedlake: OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but embedlake sends http/protobuf. Set it to http/protobuf.\n"
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("is_down", [True, False])
def test_a_collector_that_is_down_or_slow_is_not_waited_for_and_told_of_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_down: bool
) -> None:
    with collector(answer_after=30) as received:
        endpoint = f"http://127.0.0.1:{free_port()}" if is_down else received.endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")

        def work() -> None:
            a_run(current_log().progress(is_silent=True))
            time.sleep(1)
            a_run(current_log().progress(is_silent=True))

        began = time.monotonic()
        ended(work, debug=False)
        assert time.monotonic() - began < 2
        assert capsys.readouterr().err == (
            "embedlake: not all spans and metrics reached the collector. Check OTEL_EXPORTER_OTLP_ENDPOINT, and "
            "whether the collector is up.\n"
        )
        # What still tries says nothing either.
        logging.getLogger("opentelemetry.exporter").error("no answer")
        assert capsys.readouterr().err == ""
