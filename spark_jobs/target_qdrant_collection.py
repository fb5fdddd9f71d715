"""The collection of an export: what is in its place, and what has to be made or emptied."""

import json
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from spark_jobs.target_address import Address
from spark_jobs.target_mark import mark_of
from spark_jobs.targets import Shape

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_MARK = "embedlake"


def found_mark(client: "QdrantClient", name: str) -> tuple[Any, int | None]:
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


def make_ready(client: "QdrantClient", address: Address, shape: Shape, size: int | None, full: bool) -> None:
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
    metadata = {_MARK: json.dumps(mark_of(shape), ensure_ascii=True)}
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
    if found_mark(client, name)[0] is None:
        client.delete_collection(name)
        raise InputError(f"{address}: the server keeps no metadata: update it to 1.16 or newer")
    if address.is_server:
        # For filters and deletes by document. Local mode has no such index.
        client.create_payload_index(name, "doc_id", models.PayloadSchemaType.KEYWORD, wait=True)
