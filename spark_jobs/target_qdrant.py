"""A collection of Qdrant: on a server, or in a folder by the client's local mode."""

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.target_address import Address
from spark_jobs.target_mark import check_mark, same_owner
from spark_jobs.target_qdrant_client import KEY, connected, refusals, require_qdrant
from spark_jobs.target_qdrant_collection import found_mark, make_ready
from spark_jobs.target_rows import as_keys, conformed, in_groups, matrix_of, plain_schema
from spark_jobs.target_values import check_json, json_values
from spark_jobs.targets import Shape

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# A server takes requests of 32 MiB; a number of a vector is up to 12 bytes of JSON.
_GROUP_ROWS, _GROUP_BYTES = 256, 8 * 1024 * 1024
_PAGE_ROWS = 1000
_INDEX_SECONDS = 600
_LOCAL_ROWS = 20_000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


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
        self._shape: Shape | None = None
        self._is_indexed = True

    def prepare(self, shape: Shape, full: bool) -> bool:
        """Makes the collection, or checks the one that is there; see `Target`."""
        check_json(plain_schema(shape.rows))
        self._shape = shape
        client = self._connected()
        with refusals(self._address):
            found, size = found_mark(client, self._name)
            if size is not None:
                check_mark(found, shape, full, f"{self._address}: the collection")
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

    def _prepared(self) -> "tuple[Shape, QdrantClient]":
        if self._shape is None or self._client is None:
            raise RuntimeError("prepare comes before send, remove and finish")
        return self._shape, self._client
