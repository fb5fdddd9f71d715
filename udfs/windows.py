"""Gathering Arrow batches into windows large enough to sort and small enough to hold."""

from collections.abc import Iterator

import pyarrow as pa

# Enough texts of one length for full batches; 16,384 vectors of 1,024 numbers are 64 MiB.
WINDOW_ROWS = 16_384
WINDOW_BYTES = 32 << 20


def windows(
    batches: Iterator[pa.RecordBatch], rows: int = WINDOW_ROWS, size: int = WINDOW_BYTES
) -> Iterator[pa.RecordBatch]:
    """Joins small batches and cuts large ones, so that a worker's memory does not grow with its partition.

    Args:
        batches: Batches of one schema, of any size.
        rows: Most rows of a window.
        size: Most bytes of a window, unless a single batch has more.

    Yields:
        Batches that together hold the same rows in the same order; none is empty.
    """
    held: list[pa.RecordBatch] = []
    count = held_bytes = 0
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            # By bytes too, before joining: text columns of more than 2 GiB do not join into one batch.
            if held and (count + part.num_rows > rows or held_bytes + part.nbytes > size):
                yield _joined(held)
                held, count, held_bytes = [], 0, 0
            held.append(part)
            count += part.num_rows
            held_bytes += part.nbytes
    if held:
        yield _joined(held)


def _joined(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(held).combine_chunks().to_batches()[0]
