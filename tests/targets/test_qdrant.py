"""Qdrant: the client's local mode to test what is stored, and real HTTP responses to test what a server refuses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from schemas.errors import InputError, RunActiveError
from tests.targets.exports import export, first, opened, runs_held
from tests.targets.rows import DIMENSION, batch_of, ids_of, shape_of, vector_of

IDS = ids_of(range(20))


@pytest.fixture
def to(tmp_path: Path) -> str:
    return f"qdrant:{tmp_path / 'target'}#chunks"


def test_points_have_chunk_ids_vectors_and_payload(to: str, tmp_path: Path) -> None:
    first(to, IDS)
    client = QdrantClient(path=str(tmp_path / "target"))
    (point,) = client.retrieve("chunks", [IDS[3]], with_vectors=True)
    assert point.vector == pytest.approx(vector_of(IDS[3], "r1").tolist(), abs=1e-7)
    config = client.get_collection("chunks").config
    client.close()
    assert config.params.vectors == models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
    assert "embedlake toy.main aaaa" in json.loads(config.metadata["embedlake"])["owner"]
    assert set(point.payload) == set(shape_of().rows.names) - {"chunk_id", "embedding"}


def test_several_collections_share_a_folder(tmp_path: Path) -> None:
    first(f"qdrant:{tmp_path / 'target'}#one", IDS[:3])
    first(f"qdrant:{tmp_path / 'target'}#two", IDS[3:5])
    assert runs_held(f"qdrant:{tmp_path / 'target'}#one") == dict.fromkeys(IDS[:3], "r1")


def test_an_alias_stays_when_a_full_export_begins_from_nothing(to: str, tmp_path: Path) -> None:
    first(to, IDS[:3])
    client = QdrantClient(path=str(tmp_path / "target"))
    (made,) = client.get_collections().collections
    alias = models.CreateAlias(collection_name=made.name, alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    client.close()
    other = shape_of(owner="embedlake toy.main bbbb")
    export(to, [batch_of(IDS[3:5], "r2")], shape=other, full=True)
    client = QdrantClient(path=str(tmp_path / "target"))
    found = {str(point.id) for point in client.scroll("live")[0]}
    client.close()
    assert found == set(IDS[3:5])
    assert export(to, shape=other) is True


def test_a_folder_that_another_process_has_open_is_refused(to: str) -> None:
    with opened(to) as target:
        target.prepare(shape_of(), False)
        with pytest.raises(RunActiveError, match="another process has the folder open"):
            first(to, IDS[:3])


def test_a_folder_of_something_else_is_refused_and_stays(to: str, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="the folder contains something else"):
        first(to, IDS[:3])
    (tmp_path / "target" / "meta.json").write_text("{")
    with pytest.raises(InputError, match="not a storage folder of Qdrant's local mode"):
        first(to, IDS[:3])
    assert {path.name for path in (tmp_path / "target").iterdir()} >= {"letter.txt", "meta.json"}


# Possible answers of a server


class _Answer(BaseHTTPRequestHandler):
    """Gives the same answer to every request."""

    code, body = 500, b"{}"
    keys: list[str | None] = []  # noqa: RUF012

    def _answer(self) -> None:
        self.keys.append(self.headers.get("api-key"))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    _Answer.keys = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (
            401,
            b"Must provide an API key or an Authorization bearer token",
            r"denies access\. Set QDRANT_API_KEY",
        ),
        (403, b'{"status":{"error":"Forbidden"}}', r"denies access\. Set QDRANT_API_KEY"),
        (404, b"<html>", "answered 404 .*check that it is Qdrant"),
        (500, b'{"status":{"error":"No space left on device: WAL"}}', "the server's disk is full"),
        (429, b'{"status":{"error":"too many"}}', "answered 429|accepts no more requests"),
        (200, b'{"result": 7}', "cannot be reached or understood"),
        (200, b"<html>", "cannot be reached or understood"),
    ],
)
def test_what_a_server_refuses_is_said_without_the_key(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, code: int, body: bytes, said: str
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "hunter2")
    monkeypatch.setattr(_Answer, "code", code)
    monkeypatch.setattr(_Answer, "body", body)
    with pytest.raises(InputError, match=said) as caught:
        first(f"qdrant:http://127.0.0.1:{server.server_port}#chunks", IDS[:3])
    assert "hunter2" not in str(caught.value)
    assert set(_Answer.keys) == {"hunter2"}


def test_a_server_that_is_down_or_speaks_otherwise_is_named(server: ThreadingHTTPServer) -> None:
    for to in ("qdrant:http://127.0.0.1:1#chunks", f"qdrant:https://127.0.0.1:{server.server_port}#chunks"):
        with pytest.raises(InputError, match="cannot be reached"):
            first(to, IDS[:3])
