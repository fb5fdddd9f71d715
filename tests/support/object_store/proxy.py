"""A proxy between a client and an S3 server, which delays requests, fails them, or leaves them without an answer."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Kind = Literal["delay", "reset", "lost", "503", "500", "403", "hang"]

_ERRORS = {
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "403": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
}
# Of one connection, not of the request; and 100 Continue is this proxy's own matter.
_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "expect"}
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Trouble:
    """What the proxy does to requests.

    Attributes:
        kind: `delay` by a while, `reset` the connection before the server sees the request, `lost` after it has
            answered, an error by its number, or `hang`.
        share: Share of the requests that it happens to.
        seconds: How long a delay is.
        methods: The requests' methods that it happens to.
        seed: Draws the same requests again.
        done: How often it has happened, by method.
    """

    kind: Kind
    share: float = 1.0
    seconds: float = 0.5
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    seed: int = 1
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def happens_to(self, method: str) -> bool:
        with self._lock:
            is_hit = method in self.methods and self._random.random() < self.share
            self.done[method] += is_hit
        return is_hit


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.trouble: Trouble | None = None
        self.ended = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that break off are what this is for.
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Answers are small and go out in two writes, which would otherwise wait for each other.
    disable_nagle_algorithm = True
    server: _Proxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble = self.server.trouble
        kind = trouble.kind if trouble is not None and trouble.happens_to(self.command) else None
        if kind == "hang":
            self.server.ended.wait()
        if kind in ("hang", "reset"):
            self._reset()
        elif kind in _ERRORS:
            self._refuse(*_ERRORS[kind])
        else:
            if kind == "delay" and trouble is not None:
                time.sleep(trouble.seconds)
            self._answer(body, is_lost=kind == "lost")

    def _answer(self, body: bytes, is_lost: bool) -> None:
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_A_CONNECTION:
                behind.putheader(name, value)
        behind.endheaders(body)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        if is_lost:
            self._reset()
            return
        self.send_response_only(answer.status, answer.reason)
        names = [name for name, _ in answer.getheaders() if name.lower() == "content-length"]
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        if not names:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on


@dataclass
class Proxy:
    """A proxy that is running; what `trouble` says holds for the requests that come from then on."""

    server: _Proxy

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @contextmanager
    def trouble(self, trouble: Trouble) -> Iterator[Trouble]:
        self.server.trouble = trouble
        try:
            yield trouble
        finally:
            self.server.trouble = None


@contextmanager
def s3_proxy(port: int) -> Iterator[Proxy]:
    """Starts a proxy before a server on this machine, and stops it at the end of the block."""
    server = _Proxy(port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Proxy(server)
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
