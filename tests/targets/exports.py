"""Whole exports, done the way the export job does them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from spark_jobs.targets.factory import open_target
from spark_jobs.targets.target import RowFormat, Target
from tests.targets.rows import batch_of, shape_of


@contextmanager
def opened(to: str) -> Iterator[Target]:
    target = open_target(to)
    try:
        yield target
    finally:
        target.close()


def export(
    to: str,
    upserts: Iterable[pa.RecordBatch] = (),
    removals: Iterable[str] = (),
    shape: RowFormat | None = None,
    full: bool = False,
    is_finished: bool = True,
) -> bool:
    """Runs one export from open to close; returns whether the target already had rows of this owner."""
    with opened(to) as target:
        was_there = target.prepare(shape or shape_of(), full)
        target.send(upserts)
        target.remove([pa.array(list(removals), pa.string())])
        if is_finished:
            target.finish()
        return was_there


def runs_held(to: str) -> dict[str, str]:
    """run_id by chunk_id, as the target itself lists them."""
    with opened(to) as target:
        pairs = [
            (row["chunk_id"], row["run_id"])
            for batch in target.held()
            for row in pa.Table.from_batches([batch]).to_pylist()
        ]
    assert len({chunk_id for chunk_id, _ in pairs}) == len(pairs), "a chunk is listed twice"
    return dict(pairs)


def first(to: str, ids: Iterable[str], run: str = "r1") -> None:
    export(to, [batch_of(ids, run)])
