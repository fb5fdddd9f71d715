"""Input for the stages of a pipeline: reads an iterator ahead in a thread, and regroups record batches into windows."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from time import perf_counter
from typing import Generic, TypeVar

import pyarrow as pa

Item = TypeVar("Item")
# How often a stopping consumer checks whether the thread has ended.
_DRAIN_SECONDS = 0.05
# Enough texts for full batches of similar length; 16,384 vectors of 1,024 numbers take 64 MiB.
WINDOW_ROWS = 16_384
# The first window is smaller and each later one twice as large, so that the model starts before thousands of texts are
# tokenized.
_FIRST_ROWS = 1024
WINDOW_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class _Taken(Generic[Item]):
    item: Item


@dataclass(frozen=True, slots=True)
class _Ended:
    error: BaseException | None


def prefetch(
    source: Iterator[Item], depth: int, waited: Callable[[float], None] = lambda seconds: None
) -> Generator[Item, None, None]:
    """Runs an iterator in a thread, so that its next items are ready while the consumer processes the last one.

    Closing the generator ends the thread before `close` returns, so no thread outlives its consumer. If the source is a
    generator, it is closed too. An error in the source is raised in place of the item that it prevented.

    Args:
        source: The iterator to run; from now on only the thread uses it.
        depth: Maximum number of items that wait for the consumer.
        waited: Called for each item with the seconds that the consumer waited.

    Yields:
        The items of the source, in order.
    """
    queue: Queue[_Taken[Item] | _Ended] = Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(source, queue, stop), name="embedlake-stage", daemon=True)
    thread.start()
    try:
        while True:
            began = perf_counter()
            entry = queue.get()
            waited(perf_counter() - began)
            if isinstance(entry, _Ended):
                if entry.error is not None:
                    raise entry.error
                return
            yield entry.item
    finally:
        stop.set()
        while thread.is_alive():
            with suppress(Empty):
                queue.get(timeout=_DRAIN_SECONDS)


def _fill(source: Iterator[Item], queue: Queue[_Taken[Item] | _Ended], stop: threading.Event) -> None:
    error = None
    try:
        with closing(source) if isinstance(source, Generator) else nullcontext():
            for item in source:
                queue.put(_Taken(item))
                if stop.is_set():
                    return
    except BaseException as raised:  # otherwise the consumer would wait forever
        error = raised
    queue.put(_Ended(error))


def windows(
    batches: Iterator[pa.RecordBatch], rows: int = WINDOW_ROWS, size: int = WINDOW_BYTES
) -> Iterator[pa.RecordBatch]:
    """Joins small batches and cuts large ones, so that a worker's memory does not grow with the size of its partition.

    Args:
        batches: Batches with one schema and of any size.
        rows: Maximum number of rows in a window; the first ones have fewer.
        size: Maximum number of bytes in a window, unless a single batch has more.

    Yields:
        Batches with the same rows in the same order; none is empty.
    """
    held: list[pa.RecordBatch] = []
    count = held_bytes = 0
    most = min(rows, _FIRST_ROWS)
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, most)
            # The bytes are limited too, before joining, because a text column over 2 GiB does not fit into one batch.
            if held and (count + piece.num_rows > most or held_bytes + piece.nbytes > size):
                yield _joined(held)
                held, count, held_bytes = [], 0, 0
                most = min(rows, most * 2)
                continue
            held.append(piece)
            count += piece.num_rows
            held_bytes += piece.nbytes
            start += piece.num_rows
    if held:
        yield _joined(held)


def _joined(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(held).combine_chunks().to_batches()[0]
