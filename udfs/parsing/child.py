"""The process in which documents are parsed: reads them from its standard input until that ends.

Started by `BoundedParser` alone. A document is a header as JSON and the bytes; the answer a header and the text. Each
of the four is preceded by its length.
"""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

from schemas.reasons import TOO_LARGE
from udfs.parsing.parse import load_parsers, parse
from udfs.parsing.parsed import Limits, Parsed

LENGTH = 8
# A document that hangs is ended by the parent. If that is gone, by this process itself, so much later.
_GRACE = 10
# Warnings of libraries go to a file of the parent's.
_MOST_WRITTEN = 2**20
_REFUSED = {
    "socket.__new__",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
}
_REFUSED |= {"os.posix_spawn", "urllib.Request", "ctypes.dlopen"}


def framed(part: bytes) -> bytes:
    """A part of a message after its length."""
    return len(part).to_bytes(LENGTH, "big") + part


def address_space() -> int:
    """Bytes of address space of this process: what its limit is about. Zero where the system does not say."""
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _refuse_what_parsing_does_not_need(event: str, _arguments: Any) -> None:
    if event in _REFUSED:
        raise PermissionError(f"parsing does not need {event}")


def _bound(limits: Limits) -> None:
    sys.addaudithook(_refuse_what_parsing_does_not_need)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_WRITTEN, _MOST_WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Systems without it (macOS) leave the memory unbounded.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))


def _read(stream: BinaryIO) -> bytes | None:
    length = stream.read(LENGTH)
    if len(length) < LENGTH:
        return None
    return stream.read(int.from_bytes(length, "big"))


def _answer(parsed: Parsed) -> list[bytes]:
    text = b"" if parsed.text is None else parsed.text.encode("utf-8", "surrogatepass")
    header = asdict(parsed) | {"text": parsed.text is not None, "address_space": address_space()}
    return [framed(json.dumps(header).encode("ascii")), framed(text)]


def _serve(limits: Limits, stdin: BinaryIO, stdout: BinaryIO) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while (header := _read(stdin)) is not None and (content := _read(stdin)) is not None:
        signal.setitimer(signal.ITIMER_REAL, limits.seconds + _GRACE)
        parsed = parse(content, json.loads(header)["name"], limits)
        content = b""
        try:
            parts = _answer(parsed)
        except MemoryError:
            refused = Parsed(None, parsed.mime_type, reason=TOO_LARGE, detail="its text takes too much memory")
            parts = _answer(refused)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for part in parts:
            stdout.write(part)
        stdout.flush()


def main() -> None:
    """Serves until standard input ends."""
    limits = Limits(**json.loads(sys.argv[1]))
    # What a library prints must not get into the answers.
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    load_parsers()
    _bound(limits)
    # Says that it is ready, and what it takes before the first document.
    stdout.write(address_space().to_bytes(LENGTH, "big"))
    stdout.flush()
    with suppress(BrokenPipeError):
        _serve(limits, sys.stdin.buffer, stdout)


if __name__ == "__main__":
    main()
