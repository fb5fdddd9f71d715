"""A collection of Qdrant: on a server, or in a folder by the client's local mode."""

import json
import os
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError, RunActiveError
from spark_jobs.targets.address import Address
from spark_jobs.targets.rows import as_keys, conformed, in_groups, matrix_of, plain_schema
from spark_jobs.targets.stamp import check_stamp, same_owner, stamp_of
from spark_jobs.targets.target import RowFormat
from spark_jobs.targets.values import check_json, json_values

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# A server takes requests of 32 MiB; a number of a vector is up to 12 bytes of JSON.
_GROUP_ROWS, _GROUP_BYTES = 256, 8 * 1024 * 1024
_PAGE_ROWS = 1000
_INDEX_SECONDS = 600
_LOCAL_ROWS = 20_000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

KEY = "QDRANT_API_KEY"
_SECONDS = 60
_NO_ANSWER = "the server cannot be reached or understood ({}): check host and port, http or https, and that it is up"
# What the local mode puts into its folder first.
_LOCAL_MARK = "meta.json"

_MARK = "embedlake"


class QdrantTarget:
    """A collection under the dot product: a point's id is the chunk_id, its payload all other columns but the vector.

    Payload is JSON: see `target_values.json_values`. Whose rows they are stands in the collection's metadata, which
    servers keep from version 1.16 on. Each batch is visible as it is written; an export that is killed leaves some of
    it. The collection's own index is built by the server, and `finish` waits for it.

    Local mode is for trying out: it compares with every vector, and reads its files with pickle, so a folder from
    somebody who is not to be trusted is not to be opened.

    Args:
        address: Server or folder, and the collection.

    Raises:
        InputError: Qdrant's client is not installed.
    """

    def __init__(self, address: Address) -> None:
        require_qdrant()
        self._address = address
        self._name = address.name
        self._client: QdrantClient | None = None
        self._shape: RowFormat | None = None
        self._is_indexed = True

    def prepare(self, shape: RowFormat, full: bool) -> bool:
        """Makes the collection, or checks the one that is there; see `Target`."""
        check_json(plain_schema(shape.rows))
        self._shape = shape
        client = self._connected()
        with refusals(self._address):
            found, size = found_stamp(client, self._name)
            if size is not None:
                check_stamp(found, shape, full, f"{self._address}: the collection")
            if size is not None and size != shape.dimension and not full:
                raise InputError(
                    f"{self._address}: something else than embedlake changed the collection's vectors: export with "
                    "--full to replace all of it"
                )
            make_ready(client, self._address, shape, size, full)
        return size is not None and same_owner(found, shape)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every point, a page at a time; see `Target`."""
        client = self._client or connected(self._address, is_new_allowed=False)
        self._client, offset = client, None
        with refusals(self._address):
            if client is None or not client.collection_exists(self._name):
                return
        while True:
            with refusals(self._address):
                points, offset = client.scroll(
                    self._name, limit=_PAGE_ROWS, offset=offset, with_payload=["run_id"], with_vectors=False
                )
            ids = pa.array([str(point.id) for point in points], pa.string())
            runs = pa.array([(point.payload or {}).get("run_id") for point in points], pa.string())
            if points:
                yield pa.RecordBatch.from_arrays([ids, runs], names=["chunk_id", "run_id"])
            if offset is None:
                return

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Upserts points, some hundreds at a time; see `Target`."""
        from qdrant_client import models

        shape, client = self._prepared()
        size = max(1, min(_GROUP_ROWS, _GROUP_BYTES // (12 * shape.dimension)))
        for batch in in_groups(conformed(rows, plain_schema(shape.rows)), size):
            names = [name for name in batch.schema.names if name not in ("chunk_id", "embedding")]
            columns = [json_values(name, batch.column(name)) for name in names]
            payloads = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
            ids: list[Any] = batch.column("chunk_id").to_pylist()
            points = models.Batch(
                ids=ids,
                vectors=matrix_of(batch.column("embedding")).tolist(),
                payloads=payloads,
            )
            with refusals(self._address):
                client.upsert(self._name, points, wait=True)

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Deletes points, some hundreds at a time; see `Target`."""
        from qdrant_client import models

        _, client = self._prepared()
        for part in ids:
            as_keys(part)
            for start in range(0, len(part), _PAGE_ROWS):
                some: list[Any] = part.slice(start, _PAGE_ROWS).to_pylist()
                points = models.PointIdsList(points=some)
                with refusals(self._address):
                    client.delete(self._name, points, wait=True)

    def finish(self) -> None:
        """Waits for the server's index; see `Target`."""
        _, client = self._prepared()
        deadline = time.monotonic() + _INDEX_SECONDS
        with refusals(self._address):
            while (status := client.get_collection(self._name).status) != "green":
                if status == "red":
                    raise InputError(f"{self._address}: the server cannot index the collection: see its log")
                if time.monotonic() > deadline:
                    self._is_indexed = False
                    return
                time.sleep(0.5)

    def count(self) -> int:
        """Counts the points; see `Target`."""
        with refusals(self._address):
            return int(self._connected().count(self._name, exact=True).count)

    def nearest(self, asked: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches as an application would; see `Target`."""
        from qdrant_client import models

        requests = [models.QueryRequest(query=vector.tolist(), limit=k, with_payload=False) for vector in asked]
        with refusals(self._address):
            found = self._connected().query_batch_points(self._name, requests) if requests else []
        return [[str(point.id) for point in response.points] for response in found]

    def notes(self) -> list[str]:
        """Says where a key travels in the open, and where searches are slow; see `Target`."""
        notes = []
        if self._address.is_server:
            parts = urlsplit(self._address.place)
            if os.environ.get(KEY) and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                notes.append(f"{KEY} was sent without encryption: use https")
        elif self._client is not None and self.count() > _LOCAL_ROWS:
            notes.append(f"local mode is meant for {_LOCAL_ROWS:,} rows at most: use a server for more")
        if not self._is_indexed:
            notes.append("the server is still building its index: searches are slow until it is done")
        return notes

    def close(self) -> None:
        """Ends the connection; see `Target`."""
        if self._client is not None:
            self._client.close()
        self._client = self._shape = None

    def _connected(self) -> "QdrantClient":
        if self._client is None:
            self._client = connected(self._address, is_new_allowed=True)
        assert self._client is not None, "a folder that may be made is there"
        return self._client

    def _prepared(self) -> "tuple[RowFormat, QdrantClient]":
        if self._shape is None or self._client is None:
            raise RuntimeError("prepare comes before send, remove and finish")
        return self._shape, self._client


def require_qdrant() -> None:
    """Makes sure that Qdrant's client is there.

    Raises:
        InputError: It is not.
    """
    try:
        import qdrant_client  # noqa: F401
    except ImportError as error:
        raise InputError("the target qdrant needs qdrant-client: pip install 'embedlake[qdrant]'") from error


def connected(address: Address, is_new_allowed: bool) -> "QdrantClient | None":
    """Opens a client.

    Args:
        address: The server or folder.
        is_new_allowed: Whether a folder may be made.

    Returns:
        The client; None where there is no folder, and none may be made.

    Raises:
        InputError: The folder holds something else.
        RunActiveError: Another process has the folder open.
    """
    from qdrant_client import QdrantClient

    with refusals(address), warnings.catch_warnings():
        # What it warns of is said in `notes`: a key that travels in the open, many rows in local mode.
        warnings.simplefilter("ignore")
        if address.is_server:
            # An empty variable is one that somebody meant to unset.
            key = os.environ.get(KEY) or None
            return QdrantClient(url=address.place, api_key=key, timeout=_SECONDS, check_compatibility=False)
        if not _is_local(address) and not is_new_allowed:
            return None
        try:
            return QdrantClient(path=address.place)
        except RuntimeError as error:
            raise RunActiveError(
                f"{address}: another process has the folder open, and local mode is for one at a time: wait for it to "
                "end, or use a server"
            ) from error


def _is_local(address: Address) -> bool:
    folder = Path(address.place)
    names = os.listdir(folder) if folder.exists() else []
    if names and _LOCAL_MARK not in names:
        raise InputError(f"{address}: the folder holds something else: name an empty or a new folder")
    return bool(names)


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """Says in words what the server or the folder refuses.

    Args:
        address: The target.

    Raises:
        InputError: It was refused, or cannot be reached.
    """
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        # Not chained: answers may repeat what was sent.
        raise InputError(f"{address}: {_what(error)}") from None
    except (OSError, sqlite3.Error) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"{address}: the folder cannot be read or written ({cause}): make room there, or check that the job may "
            "write, then export again"
        ) from error
    except (ValueError, KeyError) as error:
        if address.is_server:
            # Its answer was no JSON.
            raise InputError(f"{address}: {_NO_ANSWER.format('no answer of Qdrant')}") from None
        raise InputError(f"{address}: the folder is no storage of Qdrant's local mode: name another one") from error


def _what(error: Exception) -> str:
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        if error.status_code in (401, 403):
            return f"the server does not let this job in: set {KEY} to a key that may write"
        if b"No space left" in error.content:
            return "the server's disk is full: make room there, then export again"
        return (
            f"the server refuses with {error.status_code} {error.reason_phrase}: see its log, and check that it is "
            "Qdrant 1.16 or newer, by http or https as named"
        )
    if isinstance(error, ResponseHandlingException):
        return _NO_ANSWER.format(type(error.source).__name__)
    return "the server has no room for more requests now: export again later"


def found_stamp(client: "QdrantClient", name: str) -> tuple[Any, int | None]:
    """Looks at what is in the collection's place.

    Args:
        client: The client.
        name: The collection.

    Returns:
        The mark in its metadata, or anything else where that is none; and the dimension of its vectors, 0 where they
        are of another kind, None where there is no collection.
    """
    if not client.collection_exists(name):
        return None, None
    config = client.get_collection(name).config
    vectors = config.params.vectors
    is_ours = getattr(vectors, "distance", None) == "Dot"
    try:
        mark = json.loads((config.metadata or {}).get(_MARK, ""))
    except (TypeError, ValueError):
        mark = None
    return mark, int(getattr(vectors, "size", 0)) if is_ours else 0


def make_ready(client: "QdrantClient", address: Address, shape: RowFormat, size: int | None, full: bool) -> None:
    """Makes the collection where it is missing, and empties it where an export begins from nothing.

    Args:
        client: The client.
        address: The target.
        shape: What the rows look like, and whose they are.
        size: Dimension of the collection that is there; None where there is none.
        full: Whether to begin from nothing.

    Raises:
        InputError: The server is older than 1.16, which is the first to keep metadata.
    """
    from qdrant_client import models

    name = address.name
    # As one text: a server merges metadata that has parts, and would keep columns that went.
    metadata = {_MARK: json.dumps(stamp_of(shape), ensure_ascii=True)}
    if size is not None and not full:
        return
    if size == shape.dimension:
        # Not deleted as a whole: its aliases and settings stay.
        client.delete(name, models.FilterSelector(filter=models.Filter()), wait=True)
        client.update_collection(name, metadata=metadata)
        return
    if size is not None:
        client.delete_collection(name)
    vectors = models.VectorParams(size=shape.dimension, distance=models.Distance.DOT)
    client.create_collection(name, vectors_config=vectors, metadata=metadata)
    if found_stamp(client, name)[0] is None:
        client.delete_collection(name)
        raise InputError(f"{address}: the server keeps no metadata: update it to 1.16 or newer")
    if address.is_server:
        # For filters and deletes by document. Local mode has no such index.
        client.create_payload_index(name, "doc_id", models.PayloadSchemaType.KEYWORD, wait=True)
