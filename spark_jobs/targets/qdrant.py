"""A Qdrant collection, on a server or in a folder through the client's local mode."""

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
from spark_jobs.targets.qdrant_collections import (
    Collection,
    complete_switch,
    create_collection,
    empty_collection,
    find_collection,
    give_name,
    remove_others,
    switch_collection,
)
from spark_jobs.targets.rows import as_keys, conform, matrix_of, plain_schema, regroup
from spark_jobs.targets.stamp import check_stamp, same_owner
from spark_jobs.targets.target import RowFormat, optional_package
from spark_jobs.targets.values import check_json, json_values

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# A server accepts requests of 32 MiB; each number of a vector takes up to 12 bytes of JSON.
_GROUP_ROWS, _GROUP_BYTES = 256, 8 * 1024 * 1024
_PAGE_ROWS = 1000
_INDEX_SECONDS = 600
_LOCAL_ROWS = 20_000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_KEY_VARIABLE = "QDRANT_API_KEY"
_REQUEST_SECONDS = 60
_NO_ANSWER = "the server cannot be reached or understood ({}). Check host and port, http or https, and that it is up."
# The first file that local mode puts into its folder.
_LOCAL_FILE = "meta.json"


class QdrantTarget:
    """A collection under the dot product: a point's id is the chunk_id, its payload every other column but the vector.

    Payload is JSON; see `values.json_values`. The ownership stamp is in the collection's metadata, which servers store
    from version 1.16 on. Each batch is visible as soon as it is written; a killed export leaves part of its changes.
    The server builds the collection's index, and `finish` waits for it.

    The target's name is an alias (see `qdrant_collections`). Rows that replace those of another space go to a second
    collection, which gets the alias in one step when its index is built.

    Local mode is for trying out: it compares every vector, and reads its files with pickle, so never open a folder
    from an untrusted source.
    """

    def __init__(self, address: Address) -> None:
        with optional_package("qdrant", "qdrant-client"):
            import qdrant_client  # noqa: F401  # the parts that need it import it themselves
        self._address = address
        self._name = address.name
        self._client: QdrantClient | None = None
        self._row_format: RowFormat | None = None
        # Where rows go until `finish`, and the collection that `finish` replaces with it.
        self._filled = address.name
        self._old: Collection | None = None
        self._is_indexed = True
        self._was_missing = False

    def stamp(self) -> object:
        """Reads the stamp from the collection's metadata; see `Target`."""
        client = self._client or connect(self._address, may_create=False)
        self._client = client
        if client is None:
            return None
        with refusals(self._address):
            found = find_collection(client, self._name)
        return found.stamp if found is not None else None

    def prepare(self, row_format: RowFormat, full: bool) -> bool:
        """Creates the collection, or checks the existing one; see `Target`."""
        check_json(plain_schema(row_format.rows))
        self._row_format, self._old, self._was_missing = row_format, None, False
        client, replaced = self._connected(), None
        with refusals(self._address):
            complete_switch(client, self._name)
            found = find_collection(client, self._name)
            if found is not None:
                replaced = check_stamp(found.stamp, row_format, full, f"{self._address}: the collection")
            if found is not None and found.dimension != row_format.dimension and not full and replaced is None:
                raise InputError(
                    f"{self._address}: something other than embedlake changed the collection's vectors. Export with "
                    "--full to replace all of it."
                )
            remove_others(client, self._name)
            self._filled = self._collection_to_fill(client, row_format, found, full, replaced is not None)
        return found is not None and same_owner(found.stamp, row_format)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every point, a page at a time; see `Target`."""
        client = self._client or connect(self._address, may_create=False)
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
        """Upserts points, a few hundred at a time; see `Target`."""
        from qdrant_client import models

        row_format, client = self._prepared()
        size = max(1, min(_GROUP_ROWS, _GROUP_BYTES // (12 * row_format.dimension)))
        for batch in regroup(conform(rows, plain_schema(row_format.rows)), size):
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
                client.upsert(self._filled, points, wait=True)

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Deletes points, a few hundred at a time; see `Target`."""
        from qdrant_client import models

        _, client = self._prepared()
        for array in ids:
            # Refuses ids that are not UUIDs.
            as_keys(array)
            for start in range(0, len(array), _PAGE_ROWS):
                page: list[Any] = array.slice(start, _PAGE_ROWS).to_pylist()
                points = models.PointIdsList(points=page)
                with refusals(self._address):
                    client.delete(self._filled, points, wait=True)

    def finish(self) -> None:
        """Waits for the server's index, and switches to a collection that replaces another; see `Target`."""
        _, client = self._prepared()
        with refusals(self._address):
            self._is_indexed = self._wait_for_index(client)
            if self._old is not None:
                switch_collection(client, self._name, self._old, self._filled)
                self._was_missing = not self._old.is_alias
                self._old = None

    def count(self) -> int:
        """Counts the points; see `Target`."""
        with refusals(self._address):
            return int(self._connected().count(self._name, exact=True).count)

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches as an application would; see `Target`."""
        from qdrant_client import models

        requests = [models.QueryRequest(query=vector.tolist(), limit=k, with_payload=False) for vector in queries]
        with refusals(self._address):
            found = self._connected().query_batch_points(self._name, requests) if requests else []
        return [[str(point.id) for point in response.points] for response in found]

    def notes(self) -> list[str]:
        """Warns about keys sent without encryption and about slow searches; see `Target`."""
        notes = []
        if self._address.is_server:
            parts = urlsplit(self._address.location)
            if os.environ.get(_KEY_VARIABLE) and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                notes.append(f"{_KEY_VARIABLE} was sent without encryption; use https")
        elif self._client is not None and self.count() > _LOCAL_ROWS:
            notes.append(f"local mode is meant for at most {_LOCAL_ROWS:,} rows; use a server for more")
        if not self._is_indexed:
            notes.append("the server is still building its index; searches are slow until it is done")
        if self._was_missing:
            notes.append(
                f"{self._name} was a collection and is an alias of {self._filled} now, for which the name was missing "
                "for a moment; from now on exports move the alias in one step"
            )
        return notes

    def close(self) -> None:
        """Closes the connection; see `Target`."""
        if self._client is not None:
            self._client.close()
        self._client = self._row_format = self._old = None

    def _collection_to_fill(
        self, client: "QdrantClient", row_format: RowFormat, found: Collection | None, full: bool, is_switch: bool
    ) -> str:
        """Creates or empties the collection that takes the rows, as needed; returns its name."""
        if found is None:
            created = create_collection(client, self._address, row_format)
            give_name(client, self._name, created)
            return created
        if is_switch or (full and found.dimension != row_format.dimension):
            self._old = found
            return create_collection(client, self._address, row_format)
        if full:
            empty_collection(client, found.name, row_format)
        return found.name

    def _wait_for_index(self, client: "QdrantClient") -> bool:
        """Waits until the server has built the index; returns whether it has, within a time."""
        deadline = time.monotonic() + _INDEX_SECONDS
        while (status := client.get_collection(self._filled).status) != "green":
            if status == "red":
                raise InputError(f"{self._address}: the server cannot index the collection. See its log.")
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def _connected(self) -> "QdrantClient":
        if self._client is None:
            self._client = connect(self._address, may_create=True)
        assert self._client is not None, "there is always a client if the folder may be created"
        return self._client

    def _prepared(self) -> "tuple[RowFormat, QdrantClient]":
        if self._row_format is None or self._client is None:
            raise RuntimeError("call prepare before send, remove and finish")
        return self._row_format, self._client


def connect(address: Address, may_create: bool) -> "QdrantClient | None":
    """Opens a client.

    Args:
        address: The server or folder.
        may_create: Whether a missing folder is created.

    Returns:
        The client; None if the folder is missing and may not be created.

    Raises:
        InputError: The folder contains something else.
        RunActiveError: Another process has the folder open.
    """
    from qdrant_client import QdrantClient

    with refusals(address), warnings.catch_warnings():
        # `notes` says what the client would warn about: an unencrypted key, many rows in local mode.
        warnings.simplefilter("ignore")
        if address.is_server:
            # An empty variable counts as unset.
            key = os.environ.get(_KEY_VARIABLE) or None
            return QdrantClient(url=address.location, api_key=key, timeout=_REQUEST_SECONDS, check_compatibility=False)
        if not _is_local(address) and not may_create:
            return None
        try:
            return QdrantClient(path=address.location)
        except RuntimeError as error:
            raise RunActiveError(
                f"{address}: another process has the folder open, and local mode allows only one at a time. Wait for "
                "it to end, or use a server."
            ) from error


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """Turns errors of the server, the folder and the connection into InputErrors."""
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        # Not chained, because answers may repeat what was sent.
        raise InputError(f"{address}: {_explain(error)}") from None
    except (OSError, sqlite3.Error) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"{address}: the folder cannot be read or written ({cause}). Free up disk space, or check that the job may "
            "write there, then export again."
        ) from error
    except (ValueError, KeyError) as error:
        if address.is_server:
            # The answer was not JSON.
            raise InputError(f"{address}: {_NO_ANSWER.format('not an answer of Qdrant')}") from None
        raise InputError(
            f"{address}: the folder is not a storage folder of Qdrant's local mode. Name another one."
        ) from error


def _is_local(address: Address) -> bool:
    folder = Path(address.location)
    names = os.listdir(folder) if folder.exists() else []
    if names and _LOCAL_FILE not in names:
        raise InputError(f"{address}: the folder contains something else. Name an empty or a new folder.")
    return bool(names)


def _explain(error: Exception) -> str:
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        if error.status_code in (401, 403):
            return f"the server denies access. Set {_KEY_VARIABLE} to a key that may write."
        if b"No space left" in error.content:
            return "the server's disk is full. Free up space there, then export again."
        return (
            f"the server answered {error.status_code} {error.reason_phrase}. See its log, and check that it is Qdrant "
            "1.16 or newer and that http or https is right."
        )
    if isinstance(error, ResponseHandlingException):
        return _NO_ANSWER.format(type(error.source).__name__)
    return "the server accepts no more requests now. Export again later."
