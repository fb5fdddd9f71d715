"""Documents made to harm whoever parses them. The slow ones are part of `make validate-documents`."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.reasons import TOO_LARGE, UNPARSABLE
from tests.support.documents import docx, paragraph
from tests.support.hostile import CASES, Case, external
from udfs.parsing.bounded import BoundedParser
from udfs.parsing.parse import parse
from udfs.parsing.parsed import Limits

SECRET = "never to be read"
LIMITS = Limits(seconds=30, memory_bytes=2**29)


@pytest.fixture(scope="module")
def parser(documents_extra: None) -> Iterator[BoundedParser]:
    with BoundedParser(LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def visits() -> Iterator[tuple[str, list[str]]]:
    """An address at which a server listens, and who came there."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                came.append(str(address))
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        yield address, came
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("case", [case for case in CASES if not case.slow], ids=lambda case: case.name)
def test_a_hostile_document_ends_in_a_reason_or_its_text(parser: BoundedParser, case: Case) -> None:
    found = parser.parse(case.make(), case.file)
    assert found.reason in case.reasons
    assert case.holds in (found.text or "") or found.reason is not None
    # The next document is none the worse for it.
    after = parser.parse(b"# Tea\n\ntext", "after.md")
    assert (after.text, after.title) == ("# Tea\n\ntext", "Tea")


@pytest.mark.parametrize("file", sorted(external("")))
def test_nothing_outside_a_document_is_read(
    parser: BoundedParser, visits: tuple[str, list[str]], tmp_path: Path, file: str
) -> None:
    tmp_path.joinpath("secret").write_text(SECRET, encoding="utf-8")
    address, came = visits
    for target in (address, str(tmp_path / "secret"), tmp_path.joinpath("secret").as_uri()):
        found = parser.parse(external(target)[file], file)
        assert SECRET not in (found.text or "") + (found.detail or "") + (found.title or "")
        assert "kept" in (found.text or "") or found.reason is not None
    assert came == []


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        (Limits(entries=3), "the archive has 4 members, at most 3 are taken"),
        (Limits(unpacked_bytes=1000), "the archive unpacks to 3[0-9]{3} bytes, at most 1000 are taken"),
    ],
)
def test_an_archive_is_held_to_its_limits(limits: Limits, detail: str) -> None:
    found = parse(docx(paragraph("word " * 500)), "a.docx", limits)
    assert found.reason == TOO_LARGE
    assert re.fullmatch(detail, found.detail or "")


def test_xml_with_entities_is_refused_rather_than_read_without_them() -> None:
    made = docx("<w:p><w:r><w:t>a &e; b</w:t></w:r></w:p>", start='<!DOCTYPE x [<!ENTITY e "text">]>')
    found = parse(made, "a.docx", LIMITS)
    assert (found.reason, found.detail) == (UNPARSABLE, "its XML declares entities, which are never expanded")


def test_the_server_of_that_test_notices_who_comes(visits: tuple[str, list[str]]) -> None:
    address, came = visits
    host, port = address.removeprefix("http://").removesuffix("/x").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.recv(1)
    assert len(came) == 1
    came.clear()
