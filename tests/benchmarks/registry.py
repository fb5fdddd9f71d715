"""How long it takes to find the active space in registries of many changes."""

import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from schemas.spaces import ACTIVE, PROMOTED, READY, REGISTERED, REPLACED, RETIRED, SPACES
from spark_jobs.runtime.session import get_session
from spark_jobs.settings import Settings, as_settings
from spark_jobs.settings.sections import SparkSettings
from spark_jobs.store.registry import _CHANGES_A_FILE, read_registry
from spark_jobs.store.tables import delta_session
from tests.validate.outcome import Outcome

_ROUNDS = 7
# Length of a model's description with a few settings.
_MODEL = '{"path": "/models/all-MiniLM-L6-v2", "digest": "' + "0" * 64 + '", "dimension": 384, "max_tokens": 256}'
_SCHEMA = to_arrow_schema(SPACES.schema, timezone="UTC")


def _row(library: str, space: str, number: int, **values: Any) -> dict[str, Any]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = {"library": library, "space": space, "number": number, "created_at": now, "changed_at": now}
    row |= {"model_fingerprint": f"{number:064}", "chunking_fingerprint": "1" * 64, "dimension": 384, "model": _MODEL}
    return {**row, "chunking": "{}", "state": READY, "active": False, "change": REGISTERED, **values}


def _append(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(list(rows), schema=_SCHEMA)
    write_deltalake(folder, table, mode="append")


def _two_spaces(folder: Path) -> None:
    _append(folder, [_row("asked", "main", 1, state=ACTIVE, active=True)])
    _append(folder, [_row("asked", "next", 2)])


def _promoted(folder: Path, changes: int) -> None:
    """Two spaces that have taken each other's place again and again, one commit each."""
    _two_spaces(folder)
    for number in range(3, 3 + changes):
        names = ("main", "next") if number % 2 else ("next", "main")
        active = _row("asked", names[0], number, state=ACTIVE, active=True, change=PROMOTED)
        _append(folder, [active, _row("asked", names[1], number, state=RETIRED, change=REPLACED)])
        if number % _CHANGES_A_FILE == 0:
            DeltaTable(folder).optimize.compact()
            DeltaTable(folder).create_checkpoint()


def _full(folder: Path, rows: int) -> None:
    """A store of very many libraries."""
    for start in range(0, rows, 100_000):
        _append(folder, (_row(f"library{n:07}", "main", 1) for n in range(start, min(rows, start + 100_000))))
    _two_spaces(folder)


def _settings(store: Path) -> Settings:
    source = {"format": "json", "path": "/unread", "id_column": "id", "text_columns": ["text"]}
    values = {"library": "asked", "store": {"path": str(store)}, "source": source, "model": {"path": "fake:8"}}
    return as_settings(values)


def registry(outcome: Outcome, changes: int = 1000, rows: int = 1_000_000) -> None:
    """Reads registries in turns, warm: of two changes, of many changes of one library, and of very many libraries.

    Args:
        outcome: Where figures and checks go.
        changes: Promotions in the second.
        rows: Libraries in the third.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        stores = {kind: Path(name, kind) for kind in ("two", "promoted", "full")}
        tables = {kind: store / "_embedlake" / SPACES.name for kind, store in stores.items()}
        _two_spaces(tables["two"])
        _promoted(tables["promoted"], changes)
        _full(tables["full"], rows)
        spark = get_session(SparkSettings(), quiet=True)
        took: dict[str, list[float]] = {kind: [] for kind in stores}
        with delta_session(spark):
            for _ in range(_ROUNDS + 1):
                for kind, store in stores.items():
                    start = time.perf_counter()
                    found = read_registry(spark, _settings(store))
                    took[kind].append(time.perf_counter() - start)
                    assert found.active is not None and len(found.spaces) == 2
    # The first round warms up.
    seconds = {kind: median(times[1:]) for kind, times in took.items()}
    outcome.measured(**{f"{kind}_seconds": value for kind, value in seconds.items()})
    outcome.at_most(f"seconds more for {changes:,} promotions", seconds["promoted"] - seconds["two"], 1.0)
    outcome.at_most(f"seconds more for {rows:,} rows", seconds["full"] - seconds["two"], 2.0)
