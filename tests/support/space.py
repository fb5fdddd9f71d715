"""A space with vectors written by hand, for tests of the code that reads them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, TimestampType

from schemas.spaces import SPACES
from schemas.table import quoted
from schemas.vectors import vectors_table
from spark_jobs.settings import Settings
from spark_jobs.store.spaces import register
from spark_jobs.store.tables import SpaceTables, delta_session, space_tables
from tests.support.refresh.oracle import query
from udfs.models.source import describe_model
from udfs.quantization import Ranges
from udfs.specs import ChunkSpec

Row = dict[str, Any]
PAYLOAD = [
    StructField("n", LongType()),
    StructField("tags", ArrayType(StringType())),
    StructField("dotted.name", StringType()),
    StructField("seen", TimestampType()),
]
SENT = ["chunk_id", "doc_id", "chunk_index", "char_start", "char_end", "text"]


@dataclass
class Space:
    """A registered space with vectors written by hand. Each write acts like a separate run."""

    spark: SparkSession
    settings: Settings
    payload: list[StructField] = field(default_factory=lambda: list(PAYLOAD))
    ranges: Ranges | None = None
    runs: int = 0

    def __post_init__(self) -> None:
        model = describe_model(self.settings.model.path, precision=self.settings.model.precision)
        self.table, self.dimension = vectors_table(self.payload, model.precision), model.dimension
        with delta_session(self.spark):
            for table in (SPACES, self.table):
                self.tables.ensure(table)
            chunking = ChunkSpec(method="none", max_tokens=64, min_tokens=1)
            register(self.spark, self.settings, model, chunking, self.ranges)

    @property
    def tables(self) -> SpaceTables:
        return space_tables(self.spark, self.settings)

    @property
    def name(self) -> str:
        return self.tables.name("vectors")

    @property
    def folder(self) -> Path:
        return Path(str(self.settings.store.path), self.settings.library, self.settings.space, "vectors")

    def put(self, rows: dict[str, int], embedding: Callable[[str], list[Any]] | None = None) -> None:
        """Inserts rows, or gives existing rows a new number, in one commit."""
        self.runs += 1
        values = [self._row(name, number, embedding or self.vector) for name, number in rows.items()]
        frame = self.spark.createDataFrame(
            [tuple(r[n] for n in self.table.schema.names) for r in values], self.table.schema
        )
        if self.runs == 1:
            # Appending to an empty table takes a fraction of the time of a merge.
            with delta_session(self.spark):
                return self.tables.append(frame, self.table)
        renamed = frame.select([F.col(quoted(name)).alias(f"new_{name}") for name in frame.columns])
        every = {quoted(name): F.col(quoted(f"new_{name}")) for name in frame.columns}
        merge = renamed.mergeInto(self.name, F.col("chunk_id") == F.col("new_chunk_id"))
        with delta_session(self.spark):
            merge.whenMatched().update(every).whenNotMatched().insert(every).merge()

    def drop(self, *names: str) -> None:
        ids = self.spark.createDataFrame([(chunk_id(name),) for name in names], "gone string")
        with delta_session(self.spark):
            ids.mergeInto(self.name, F.col("chunk_id") == F.col("gone")).whenMatched().delete().merge()

    def vector(self, name: str) -> list[float]:
        drawn = np.random.default_rng(list(name.encode())).normal(size=self.dimension)
        return [float(x) for x in (drawn / np.linalg.norm(drawn)).astype(np.float32)]

    def _row(self, name: str, number: int, embedding: Callable[[str], list[Any]]) -> Row:
        payload = {"n": number, "tags": [name, "é"], "dotted.name": None, "seen": datetime(2026, 1, 2, 3, tzinfo=UTC)}
        return {
            "chunk_id": chunk_id(name),
            "doc_id": name,
            "chunk_index": 0,
            "char_start": 0,
            "char_end": len(name),
            "text": f"Text of {name}.",
            "text_hash": "0" * 64,
            "token_count": 3,
            "truncated": False,
            "run_id": f"toy.main.{self.runs}",
            "embedding": embedding(name),
            **{one.name: payload[one.name] for one in self.payload},
        }

    def stored(self) -> list[Row]:
        """What a target must contain, read with a reader that shares no code with Spark."""
        columns = [*SENT, *(one.name for one in self.payload), "run_id", "embedding"]
        listed = ", ".join(f'"{name}"' for name in columns)
        return query(self.folder, f"select {listed} from t order by chunk_id")

    def events(self) -> list[tuple[int, str, int | None, int | None, int | None]]:
        folder = Path(str(self.settings.store.path), "_embedlake", "exports")
        rows = query(folder, "select * from t order by export_number, event desc")
        return [(r["export_number"], r["event"], r["sent"], r["removed"], r["rows"]) for r in rows]


def chunk_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))
