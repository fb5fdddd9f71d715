"""Reads the contents of a target the way its users would, without embedlake."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet as pq

Rows = dict[str, dict[str, Any]]


def rows_in(to: str) -> Rows:
    """Rows by chunk_id, without vectors."""
    kind = re.match("[a-z]+", to)
    assert kind is not None
    found = _READERS[kind[0]](to)
    rows = {row["chunk_id"]: {name: value for name, value in row.items() if name != "embedding"} for row in found}
    assert len(rows) == len(found), "a chunk is there twice"
    return rows


def _folder(to: str) -> Path:
    return Path(to.partition(":")[2].partition("#")[0])


def _name(to: str) -> str:
    return to.rpartition("#")[2]


def _parquet(to: str) -> list[dict[str, Any]]:
    return list(pyarrow.dataset.dataset(_folder(to), format="parquet").to_table().to_pylist())


def _index(to: str) -> list[dict[str, Any]]:
    mark = json.loads((_folder(to) / "_embedlake.json").read_bytes())
    # The index identifies rows by the key; tests of the index check it.
    return list(pq.read_table(_folder(to) / mark["rows"]).drop_columns("_key").to_pylist())


def _lancedb(to: str) -> list[dict[str, Any]]:
    import lancedb

    return list(lancedb.connect(_folder(to)).open_table(_name(to)).to_arrow().to_pylist())


def _postgresql(to: str) -> list[dict[str, Any]]:
    import psycopg
    from psycopg import sql
    from psycopg.rows import dict_row

    schema, table = re.findall(r'"((?:[^"]|"")*)"', _name(to))
    place = sql.Identifier(schema.replace('""', '"'), table.replace('""', '"'))
    with psycopg.connect(dbname="postgres", row_factory=dict_row) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        found = connection.execute(sql.SQL("SELECT * FROM {}").format(place)).fetchall()
    return [{**row, "chunk_id": str(row["chunk_id"])} for row in found]


def _qdrant(to: str) -> list[dict[str, Any]]:
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(_folder(to)))
    try:
        points, _ = client.scroll(_name(to), limit=100_000)
        return [{"chunk_id": str(point.id), **(point.payload or {})} for point in points]
    finally:
        client.close()


_READERS = {
    "parquet": _parquet,
    "faiss": _index,
    "usearch": _index,
    "lancedb": _lancedb,
    "postgresql": _postgresql,
    "qdrant": _qdrant,
}
