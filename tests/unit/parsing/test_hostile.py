"""Documents made to harm whoever parses them. The slow ones are part of `make validate-documents`."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile import CASES, Case, external
from udfs.parsing.bounded import BoundedParser
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


def test_the_server_of_that_test_notices_who_comes(visits: tuple[str, list[str]]) -> None:
    address, came = visits
    host, port = address.removeprefix("http://").removesuffix("/x").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.recv(1)
    assert len(came) == 1
    came.clear()
