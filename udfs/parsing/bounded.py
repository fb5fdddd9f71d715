"""Parsing in a child process that is ended when a document hangs, crashes or swells it."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from schemas.errors import EmbedlakeError
from schemas.reasons import PARSER_TIMEOUT, TOO_LARGE, UNPARSABLE
from udfs.parsing.child import LENGTH, framed
from udfs.parsing.content_type import type_by_magic
from udfs.parsing.parse import need_packages
from udfs.parsing.parsed import Limits, Parsed

_START_SECONDS = 120.0
# What a document leaves allocated is missing to the next one. A child that has used up this share of what a new one has
# for a document is replaced. A share of the limit would not do: how much the libraries map differs between systems.
_GROWN = 0.5
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "VIRTUAL_ENV")
_CHUNK = 2**20
# What Rust and C++ write before they give up.
_NO_MEMORY = (b"memory allocation of", b"bad_alloc", b"ut of memory", b"MemoryError")


class _EndedError(Exception):
    """The child is gone, or has to go."""


class _Child:
    """One process.

    Args:
        limits: What it may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # Threads' own arenas would fill the address space without being used.
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "udfs.parsing.child", json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            # Ctrl-C is for the parent, which ends it.
            start_new_session=True,
            bufsize=0,
        )
        self.documents = 0
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(_file(stream), False)
        self._received = bytearray()
        try:
            self._exchange(b"", LENGTH, time.monotonic() + _START_SECONDS)
        except (_EndedError, TimeoutError) as error:
            self.end()
            raise EmbedlakeError("the process that parses documents does not start. Run pip check.") from error
        self._at_start = int.from_bytes(self._received[:LENGTH], "big")
        del self._received[:LENGTH]

    def ask(self, content: bytes, name: str, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Has a document parsed; TimeoutError or _EndedError if that fails."""
        deadline = time.monotonic() + seconds
        self.documents += 1
        self._received.clear()
        header = json.dumps({"name": name}).encode("ascii")
        self._exchange(framed(header) + framed(content), LENGTH, deadline)
        parts = []
        for _ in range(2):
            self._exchange(b"", LENGTH, deadline)
            length = int.from_bytes(self._received[:LENGTH], "big")
            self._exchange(b"", LENGTH + length, deadline)
            parts.append(bytes(self._received[LENGTH : LENGTH + length]))
            del self._received[: LENGTH + length]
        return json.loads(parts[0]), parts[1]

    def has_grown(self, address_space: int) -> bool:
        """Whether the next document would find too little memory."""
        return address_space - self._at_start > _GROWN * (self._limits.memory_bytes - self._at_start)

    def _exchange(self, message: bytes, wanted: int, deadline: float) -> None:
        """Sends, and receives until so many bytes are there."""
        left = memoryview(message)
        stdin, stdout = _file(self._process.stdin), _file(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if left:
                selector.register(stdin, selectors.EVENT_WRITE)
            while left or len(self._received) < wanted:
                seconds = deadline - time.monotonic()
                if seconds <= 0:
                    raise TimeoutError
                for key, _ in selector.select(seconds):
                    if key.fd == stdout:
                        self._receive(stdout)
                    else:
                        left = left[_send(stdin, left) :]
                        if not left:
                            selector.unregister(stdin)

    def _receive(self, stdout: int) -> None:
        received = os.read(stdout, _CHUNK)
        if not received:
            raise _EndedError
        self._received += received

    def end(self) -> bool:
        """Ends the process.

        Returns:
            Whether it had run out of memory.
        """
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        with self._stderr as file:
            file.seek(0)
            written = file.read(2**20)
        return any(word in written for word in _NO_MEMORY)

    def died_of(self) -> str:
        """How the process ended, in words."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _file(stream: Any) -> int:
    return int(stream.fileno())


def _send(stdin: int, left: memoryview) -> int:
    try:
        return os.write(stdin, left[:_CHUNK])
    except BlockingIOError:
        return 0
    except BrokenPipeError as error:
        raise _EndedError from error


class BoundedParser:
    """Parses documents in a child process, which is kept for the next one.

    A document that takes longer than its time, crashes the process, or needs more memory than the process may have,
    costs the process and gets a reason. The next document gets a new process. Memory is bounded by `RLIMIT_AS`, the
    address space: what is never mapped is never resident. So the limit includes the libraries, about 80 MB.

    Args:
        limits: What one document may cost.

    Raises:
        InputError: If the packages that parse are not installed.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: _Child | None = None
        # Refuses here, where the message reaches the user, rather than in the child.
        need_packages()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def parse(self, content: bytes, name: str) -> Parsed:
        """Turns a document into Markdown-like text.

        Args:
            content: The document.
            name: Its name or path.

        Returns:
            The text with what the document declares, or the reason why it was refused.
        """
        limits = self.limits
        if len(content) > limits.content_bytes:
            detail = f"it has {len(content)} bytes, at most {limits.content_bytes} are taken"
            return Parsed(None, type_by_magic(content), reason=TOO_LARGE, detail=detail)
        used = self._child is not None
        parsed, of_memory = self._attempt(content, name)
        # What earlier documents left in the process must not decide about this one.
        return self._attempt(content, name)[0] if used and of_memory else parsed

    def _attempt(self, content: bytes, name: str) -> tuple[Parsed, bool]:
        """What became of it, and whether a fresh process may do better."""
        if self._child is None:
            self._child = _Child(self.limits)
        child = self._child
        try:
            header, text = child.ask(content, name, self.limits.seconds)
        except TimeoutError:
            self.close()
            detail = f"it was not parsed within {self.limits.seconds:g} seconds"
            return Parsed(None, type_by_magic(content), reason=PARSER_TIMEOUT, detail=detail), False
        except _EndedError:
            return self._ended(child, content), True
        except BaseException:
            # Stopped in the middle: what it still answers belongs to nobody.
            self.close()
            raise
        if child.has_grown(header.pop("address_space")):
            self.close()
        taken = header["reason"] is None
        header |= {"text": text.decode("utf-8", "surrogatepass") if header["text"] else None}
        return Parsed(**header | {"pages": tuple(header["pages"])}), not taken and header["reason"] == TOO_LARGE

    def _ended(self, child: _Child, content: bytes) -> Parsed:
        how = child.died_of()
        self._child = None
        if child.end():
            detail = f"parsing it takes more than {self.limits.memory_bytes} bytes of memory"
            return Parsed(None, type_by_magic(content), reason=TOO_LARGE, detail=detail)
        return Parsed(None, type_by_magic(content), reason=UNPARSABLE, detail=f"the process that parsed it {how}")
