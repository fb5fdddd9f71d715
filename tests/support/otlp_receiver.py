"""A collector: takes spans and metrics over OTLP (http/protobuf), and keeps them."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Attributes = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """A span as it came: ids in hexadecimal, times in nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: Attributes
    failed: bool
    message: str
    events: list[tuple[str, Attributes]]


@dataclass
class Received:
    """What a collector has got so far.

    Attributes:
        endpoint: Where it listens, for OTEL_EXPORTER_OTLP_ENDPOINT.
        resource: Attributes of whoever sent last.
        spans: In the order in which they came.
        points: The last point of each metric and its attributes.
        units: Of each metric.
    """

    endpoint: str = ""
    resource: Attributes = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    points: dict[tuple[str, frozenset[tuple[str, Any]]], Any] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def value(self, name: str, **attributes: Any) -> Any:
        """The last value of a metric; of a histogram its count."""
        return self.points[name, frozenset(attributes.items())]


@contextmanager
def collector(answer_after: float = 0.0) -> Iterator[Received]:
    """Listens on a free port of this machine while the block lasts; answers each request after so many seconds."""
    received, lock = Received(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(answer_after)
            with lock:
                {"/v1/traces": _take_spans, "/v1/metrics": _take_metrics}[self.path](received, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _take_spans(received: Received, body: bytes) -> None:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        received.resource = _values(of_resource.resource.attributes)
        for span in (span for scope in of_resource.scope_spans for span in scope.spans):
            received.spans.append(
                Span(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_values(span.attributes),
                    failed=span.status.code == 2,
                    message=span.status.message,
                    events=[(event.name, _values(event.attributes)) for event in span.events],
                )
            )


def _take_metrics(received: Received, body: bytes) -> None:
    for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        received.resource = _values(of_resource.resource.attributes)
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            received.units[metric.name] = metric.unit
            for point in getattr(metric, str(metric.WhichOneof("data"))).data_points:
                kind = point.WhichOneof("value") if metric.WhichOneof("data") != "histogram" else "count"
                received.points[metric.name, frozenset(_values(point.attributes).items())] = getattr(point, str(kind))


def _values(attributes: Any) -> Attributes:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes}
