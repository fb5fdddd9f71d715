"""The child process: kept for the next document, ended when one hangs, crashes or swells it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.reasons import PARSER_TIMEOUT, TOO_LARGE, UNPARSABLE
from tests.support.documents import cells, docx, paragraph, pdf, xlsx
from tests.support.paths import ROOT
from udfs.parsing import parse as parsing
from udfs.parsing.bounded import BoundedParser
from udfs.parsing.parse import parse
from udfs.parsing.parsed import Limits, Parsed

# Takes seconds to parse.
LONG = b"<html>" + b"<p>a <b>word</b> or two</p>" * 400_000
CORNERS = cells(1, "a") + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


@pytest.fixture
def parser() -> Iterator[BoundedParser]:
    with BoundedParser(Limits(seconds=30)) as made:
        yield made


def process_of(parser: BoundedParser) -> int:
    assert parser._child is not None
    return parser._child._process.pid


def is_right(parser: BoundedParser) -> bool:
    return parser.parse(b"# Tea", "a.md") == Parsed("# Tea", "text/markdown", "Tea")


def at_start() -> int:
    """Address space of a child that has parsed nothing: systems differ in how much the libraries map."""
    with BoundedParser() as parser:
        assert is_right(parser)
        assert parser._child is not None
        return parser._child._at_start


def test_it_answers_as_parsing_in_this_process_does(parser: BoundedParser) -> None:
    documents = {
        "a.docx": docx(paragraph("Grüße 𐌲")),
        "a.pdf": pdf([[(12, 700, "one")], [(12, 700, "two")]], "/Title (T) /Author (A)"),
        "half \udc80.txt": b"\xff\xfe\x00\xd8a\x00",
        "no.bin": bytes(range(256)),
        "new\nline.md": "# ü".encode(),
    }
    for name, content in documents.items():
        assert parser.parse(content, name) == parse(content, name, parser.limits)


def test_the_process_is_kept_for_the_next_document(parser: BoundedParser) -> None:
    assert is_right(parser)
    first = process_of(parser)
    assert is_right(parser)
    assert process_of(parser) == first


def test_a_document_that_takes_too_long_costs_its_process() -> None:
    with BoundedParser(Limits(seconds=0.3)) as parser:
        assert is_right(parser)
        first = process_of(parser)
        found = parser.parse(LONG, "a.html")
        assert (found.text, found.reason) == (None, PARSER_TIMEOUT)
        assert found.detail == "it was not parsed within 0.3 seconds"
        assert not Path(f"/proc/{first}").exists()
        assert is_right(parser)


def test_a_process_that_crashes_costs_its_document(parser: BoundedParser) -> None:
    assert is_right(parser)

    def crash() -> None:
        time.sleep(0.3)
        os.kill(process_of(parser), signal.SIGSEGV)

    # Also on the second attempt, which a fresh process gets.
    def crash_again(first: int) -> None:
        for _ in range(500):
            if parser._child is not None and process_of(parser) != first:
                crash()
                return
            time.sleep(0.01)

    killers = [threading.Thread(target=crash), threading.Thread(target=crash_again, args=[process_of(parser)])]
    for killer in killers:
        killer.start()
    found = parser.parse(LONG, "a.html")
    for killer in killers:
        killer.join()
    assert (found.reason, found.detail) == (UNPARSABLE, "the process that parsed it was ended by SIGSEGV")
    assert is_right(parser)


def test_a_process_that_dies_once_costs_nothing(parser: BoundedParser) -> None:
    assert is_right(parser)
    os.kill(process_of(parser), signal.SIGKILL)
    assert is_right(parser)


def test_a_document_that_swells_is_too_large(parser: BoundedParser) -> None:
    found = parser.parse(xlsx({"Sheet": CORNERS}), "a.xlsx")
    assert (found.reason, found.detail) == (TOO_LARGE, "parsing it takes more than 1073741824 bytes of memory")
    assert is_right(parser)


def test_memory_that_python_is_refused_is_too_large() -> None:
    with BoundedParser(Limits(seconds=30, memory_bytes=at_start() + 80_000_000)) as parser:
        found = parser.parse(b"<html><p>" + b"word " * 9_000_000, "a.html")
        # Not for the length of its text, which is within its limit.
        assert (found.reason, "memory" in (found.detail or "")) == (TOO_LARGE, True)
        assert is_right(parser)


def test_a_process_that_has_grown_is_replaced() -> None:
    with BoundedParser(Limits(seconds=30, memory_bytes=at_start() + 46_000_000)) as parser:
        assert is_right(parser)
        first = process_of(parser)
        assert parser.parse(b"word " * 2_000_000, "a.txt").reason is None
        # The buffers of the next ones come on top of what it has left allocated.
        assert is_right(parser)
        assert is_right(parser)
        assert is_right(parser)
        assert process_of(parser) != first


def test_a_process_whose_libraries_take_most_of_the_memory_is_kept() -> None:
    with BoundedParser(Limits(seconds=30, memory_bytes=at_start() + 20_000_000)) as parser:
        assert is_right(parser)
        first = process_of(parser)
        assert is_right(parser)
        assert process_of(parser) == first


def test_what_is_larger_than_the_limit_is_not_sent() -> None:
    with BoundedParser(Limits(content_bytes=10)) as parser:
        found = parser.parse(pdf([[(12, 700, "one")]]), "a.pdf")
        assert (found.reason, found.mime_type) == (TOO_LARGE, "application/pdf")
        assert parser._child is None


def test_a_text_that_is_too_long_is_refused() -> None:
    found = parse(b"<html><p>" + b"word " * 1000, "a.html", Limits(characters=1000))
    assert (found.text, found.reason, found.detail) == (None, TOO_LARGE, "the text has more than 1000 characters")


def test_closing_ends_the_process_and_parsing_starts_another(parser: BoundedParser) -> None:
    assert is_right(parser)
    first = process_of(parser)
    parser.close()
    assert not Path(f"/proc/{first}").exists()
    assert is_right(parser)


def test_the_process_ends_with_its_parent() -> None:
    code = (
        "from udfs.parsing.bounded import BoundedParser\n"
        "import os, sys\n"
        "parser = BoundedParser()\n"
        "parser.parse(b'x', 'a.txt')\n"
        "print(parser._child._process.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    place = Path(f"/proc/{done.stdout.strip()}")
    for _ in range(100):
        if not place.exists():
            return
        time.sleep(0.05)
    raise AssertionError("the process lives on")


def test_the_process_opens_no_socket_and_starts_nothing() -> None:
    code = (
        "from udfs.parsing import child\n"
        "from udfs.parsing.parsed import Limits\n"
        "import socket, subprocess\n"
        "child._bound(Limits())\n"
        "for act in (lambda: socket.socket(), lambda: subprocess.run(['true'])):\n"
        "    try:\n"
        "        act()\n"
        "    except PermissionError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "parsing does not need socket.__new__\nparsing does not need subprocess.Popen\n"


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "_DECIDING", ("lxml", "no-such-package"))
    with pytest.raises(InputError, match=r"no-such-package\. Run pip install 'embedlake\[documents\]'\.$"):
        BoundedParser()


def test_the_version_names_the_libraries_that_decide_a_text() -> None:
    names = {part.rpartition("-")[0] for part in parsing.PARSER_VERSION.split()[1:]}
    assert names == {"pypdfium2", "lxml", "python-calamine", "docutils", "charset-normalizer"}
