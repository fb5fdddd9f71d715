"""OpenTelemetry, if the environment asks for it: events become spans and metrics in a thread of their own.

The SDK is imported there too, while the session starts, and nothing that a run does waits for it. Only the end of a
command does, for a bounded time.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from spark_jobs.runtime.events import Event, Observer
from spark_jobs.runtime.metrics import Metrics
from spark_jobs.runtime.spans import Spans
from udfs import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SENDS_OVER = "http/protobuf"
# What the end of a command may wait for a collector: a share of the time that the command took, within limits.
_SHARE = 0.01
_LEAST_SECONDS, _MOST_SECONDS = 0.25, 5.0
_MISSING = "{endpoint} is set, but OpenTelemetry is not installed. Run pip install 'embedlake[otel]'."
_LOST = "not all spans and metrics reached the collector. Check {endpoint}, and whether the collector is up."


@contextmanager
def telemetry(warn: Callable[[str], None]) -> Iterator[tuple[Observer, ...]]:
    """Sends spans and metrics of a command as the variables `OTEL_*` say; does nothing without an endpoint.

    Args:
        warn: Receives a sentence if something is wrong with that; the command goes on.

    Yields:
        What is to be told of events.
    """
    signals = [signal for signal in ("TRACES", "METRICS") if _is_wanted(signal)]
    fault = _fault(signals) if signals else None
    if fault is not None:
        warn(fault.format(endpoint=_set_endpoint(signals[0])))
    if not signals or fault is not None:
        yield ()
        return
    began, sender = time.monotonic(), Sender(signals)
    try:
        yield (sender.observe,)
    finally:
        seconds = min(_MOST_SECONDS, max(_LEAST_SECONDS, _SHARE * (time.monotonic() - began)))
        if not sender.close(seconds):
            warn(_LOST.format(endpoint=_set_endpoint(signals[0])))


def _is_wanted(signal: str) -> bool:
    """Whether spans (TRACES) or METRICS are to be sent."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    has_endpoint = any(os.environ.get(name) for name in _endpoints(signal))
    return has_endpoint and os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() in ("", "otlp")


def _endpoints(signal: str) -> tuple[str, str]:
    return f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", _ENDPOINT


def _set_endpoint(signal: str) -> str:
    return next(name for name in _endpoints(signal) if os.environ.get(name))


def _fault(signals: list[str]) -> str | None:
    try:
        is_installed = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
        is_installed = is_installed and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:  # the package above it is missing
        is_installed = False
    if not is_installed:
        return _MISSING
    for signal in signals:
        for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if (protocol := os.environ.get(name)) and protocol != _SENDS_OVER:
                return f"{name} is {protocol}, but embedlake sends {_SENDS_OVER}. Set it to {_SENDS_OVER}."
            if protocol:
                break
    return None


class Sender:
    """Takes events from any thread and sends them from its own.

    Args:
        signals: What to send: TRACES, METRICS.
    """

    def __init__(self, signals: list[str]) -> None:
        self._signals = signals
        self._events: SimpleQueue[tuple[int, Event] | None] = SimpleQueue()
        self._faults = _Faults()
        self._thread = Thread(target=self._send, name="embedlake-telemetry", daemon=True)
        self._thread.start()

    def observe(self, event: Event) -> None:
        """Takes an event; returns at once."""
        self._events.put((time.time_ns(), event))

    def close(self, seconds: float) -> bool:
        """Sends what is left for so many seconds at most; returns whether everything was sent."""
        self._events.put(None)
        self._thread.join(seconds)
        is_over = not self._thread.is_alive()
        return is_over and not self._faults.number

    def _send(self) -> None:
        try:
            self._faults.listen()
            self._work()
        except Exception:
            # Of no kind does a fault of telemetry concern the run.
            self._faults.number += 1

    def _work(self) -> None:
        observers, closers = _open(self._signals)
        while (taken := self._events.get()) is not None:
            at, event = taken
            for observe in observers:
                observe(event, at)
        # Together, because a slow collector would otherwise be waited for twice.
        threads = [Thread(target=close, daemon=True) for close in closers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class _Faults(logging.Handler):
    """Counts what the SDK logs, and keeps it from standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.number = 0

    def listen(self) -> None:
        logger = logging.getLogger("opentelemetry")
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.number += 1


def _open(signals: list[str]) -> tuple[list[Callable[[Event, int], None]], list[Callable[[], None]]]:
    """Sets up the SDK; returns what takes events, and what sends the rest and ends."""
    from opentelemetry.sdk.resources import Resource

    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {"service.version": __version__, **({} if named else {"service.name": "embedlake"})}
    resource = Resource.create(own)
    opened = [{"TRACES": _open_traces, "METRICS": _open_metrics}[signal](resource) for signal in signals]
    return [observe for observe, _ in opened], [close for _, close in opened]


def _open_traces(resource: "Resource") -> tuple[Callable[[Event, int], None], Callable[[], None]]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    carrier = {name.lower(): os.environ[name] for name in ("TRACEPARENT", "TRACESTATE") if name in os.environ}
    parent = TraceContextTextMapPropagator().extract(carrier) if carrier else None
    spans = Spans(provider.get_tracer("embedlake", __version__), parent)

    def close() -> None:
        spans.close(time.time_ns())
        provider.shutdown()

    return spans.observe, close


def _open_metrics(resource: "Resource") -> tuple[Callable[[Event, int], None], Callable[[], None]]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    metrics = Metrics(provider.get_meter("embedlake", __version__))
    return (lambda event, _: metrics.observe(event)), provider.shutdown
