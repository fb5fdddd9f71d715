"""The collections of a Qdrant target: the one that its name stands for, and those that wait, or were left, beside it.

Rows are in a collection `<name>.embedlake-<digits>`, and the target's name is an alias of it, so that an export of
another space can fill a second collection and move the alias. A target that an earlier version created is a collection
under the name itself, and stays one until then.
"""

import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from spark_jobs.targets.address import Address
from spark_jobs.targets.stamp import stamp_of
from spark_jobs.targets.target import RowFormat

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_STAMP_KEY = "embedlake"
# Whether all rows have been sent to a collection that is to replace another one.
_IS_COMPLETE_KEY = "embedlake_complete"


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection that a target's name stands for.

    Attributes:
        name: Its own name.
        is_alias: Whether the target's name is an alias of it.
        stamp: Its ownership stamp, which may be anything if embedlake did not create it.
        dimension: Numbers in a vector; 0 if the vectors are of another kind.
    """

    name: str
    is_alias: bool
    stamp: Any
    dimension: int


def find_collection(client: "QdrantClient", name: str) -> Collection | None:
    """Finds the collection that a name stands for; None if there is none."""
    own_name = _aliases(client).get(name)
    if own_name is None and not client.collection_exists(name):
        return None
    stamp, dimension = _read_stamp(client, own_name or name)
    return Collection(own_name or name, own_name is not None, stamp, dimension)


def complete_switch(client: "QdrantClient", name: str) -> None:
    """Completes a switch that was killed while no collection had the target's name."""
    if name in _aliases(client) or client.collection_exists(name):
        return
    # It may already have other aliases, which moved before the old collection went.
    for other in _own_collections(client, name):
        if (client.get_collection(other).config.metadata or {}).get(_IS_COMPLETE_KEY):
            _move_aliases(client, {name: other}, [])
            return


def remove_others(client: "QdrantClient", name: str) -> None:
    """Removes the collections that killed exports left beside the one that a name stands for."""
    for other in _others(client, name):
        client.delete_collection(other)


def create_collection(client: "QdrantClient", address: Address, row_format: RowFormat) -> str:
    """Creates an empty collection beside the one that a target's name stands for; returns its own name."""
    from qdrant_client import models

    name = f"{address.name}.embedlake-{uuid.uuid4().hex[:12]}"
    vectors = models.VectorParams(size=row_format.dimension, distance=models.Distance.DOT)
    client.create_collection(name, vectors_config=vectors, metadata=_metadata(row_format))
    if _read_stamp(client, name)[0] is None:
        client.delete_collection(name)
        raise InputError(f"{address}: the server does not store metadata. Update it to 1.16 or newer.")
    if address.is_server:
        # For filters and deletes by document; local mode has no such index.
        client.create_payload_index(name, "doc_id", models.PayloadSchemaType.KEYWORD, wait=True)
    return name


def empty_collection(client: "QdrantClient", name: str, row_format: RowFormat) -> None:
    """Removes all points of a collection, which keeps its aliases and settings, and stamps it anew."""
    from qdrant_client import models

    client.delete(name, models.FilterSelector(filter=models.Filter()), wait=True)
    client.update_collection(name, metadata=_metadata(row_format))


def give_name(client: "QdrantClient", name: str, collection: str) -> None:
    """Makes a name that nothing has an alias of a collection."""
    _move_aliases(client, {name: collection}, [])


def switch_collection(client: "QdrantClient", name: str, old: Collection, new: str) -> None:
    """Gives a target's name, and all other aliases of the old collection, to a new one, and deletes the old one.

    Aliases move in one step. A collection under the name itself has to go first, because no alias can have its name; if
    the export is killed right then, `complete_switch` gives the new collection the name. An old collection that
    somebody named otherwise, and gave the target's name as an alias, stays with its other aliases.
    """
    client.update_collection(new, metadata={_IS_COMPLETE_KEY: True})
    if old.is_alias and not _own_names(name).fullmatch(old.name):
        _move_aliases(client, {name: new}, [name])
        return
    moving = [alias for alias, collection in _aliases(client).items() if collection == old.name]
    if moving:
        _move_aliases(client, dict.fromkeys(moving, new), moving)
    client.delete_collection(old.name)
    if not old.is_alias:
        give_name(client, name, new)


def _move_aliases(client: "QdrantClient", created: dict[str, str], deleted: list[str]) -> None:
    from qdrant_client import models

    changes: list[Any] = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)) for alias in deleted
    ]
    changes += [
        models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))
        for alias, collection in created.items()
    ]
    client.update_collection_aliases(changes)


def _aliases(client: "QdrantClient") -> dict[str, str]:
    return {found.alias_name: found.collection_name for found in client.get_aliases().aliases}


def _others(client: "QdrantClient", name: str) -> list[str]:
    """Names the collections that were made for a target and that no alias stands for."""
    used = set(_aliases(client).values())
    return [other for other in _own_collections(client, name) if other not in used]


def _own_collections(client: "QdrantClient", name: str) -> list[str]:
    found = (collection.name for collection in client.get_collections().collections)
    return sorted(other for other in found if _own_names(name).fullmatch(other))


def _own_names(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name) + r"\.embedlake-[0-9a-f]{12}")


def _read_stamp(client: "QdrantClient", name: str) -> tuple[Any, int]:
    config = client.get_collection(name).config
    vectors = config.params.vectors
    is_ours = getattr(vectors, "distance", None) == "Dot"
    try:
        stamp = json.loads((config.metadata or {}).get(_STAMP_KEY, ""))
    except (TypeError, ValueError):
        stamp = None
    return stamp, int(getattr(vectors, "size", 0)) if is_ours else 0


def _metadata(row_format: RowFormat) -> dict[str, str]:
    # One text: servers merge nested metadata, and would keep columns that are gone.
    return {_STAMP_KEY: json.dumps(stamp_of(row_format), ensure_ascii=True)}
