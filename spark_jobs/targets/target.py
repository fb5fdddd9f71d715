"""TODO."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What the rows of an export look like, and whose they are.

    Attributes:
        owner: Library and space, then the model's fingerprint as the last word, such as
            `embedlake python-docs.main 3f2a`. Written into the target and compared at each export.
        dimension: Numbers of an embedding.
        rows: Columns: chunk_id string (a UUID), doc_id string, chunk_index int32, char_start int32, char_end int32,
            text string, the payload columns under their own names, run_id string, and last embedding
            fixed_size_list<float32>[dimension].
    """

    owner: str
    dimension: int
    rows: pa.Schema


class Target(Protocol):
    """One place that vectors are exported to. The score is the dot product, which of unit vectors is the cosine.

    An export calls `prepare`, then `send` and `remove` as often as it likes, in any order, then `finish`. Whatever
    is not finished may be lost or may be there: the same export again leaves the same rows.
    """

    def prepare(self, shape: RowFormat, full: bool) -> bool:
        """Checks what is there, and makes what is missing.

        Args:
            shape: What the rows look like, and whose they are.
            full: Whether to begin from nothing. Only then is anything replaced that has the rows of another model,
                another dimension or other columns.

        Returns:
            Whether this owner's rows were there already.

        Raises:
            InputError: It cannot be reached or written, holds what embedlake did not make, or belongs to another
                library, space, model, dimension or set of columns.
        """
        ...

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists what is there. Works before `prepare` too, and lists nothing where nothing is.

        Returns:
            Batches of chunk_id string, run_id string of every row, read in bounded memory.
        """
        ...

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Inserts rows, and replaces the ones whose chunk_id is there. Where one is sent twice, the later counts.

        Args:
            rows: Batches of `Shape.rows`.
        """
        ...

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Takes rows out. Ids that are not there are passed over.

        Args:
            ids: Arrays of chunk_id, string.
        """
        ...

    def finish(self) -> None:
        """Builds the target's own index, and makes everything visible; at once where the kind can."""
        ...

    def count(self) -> int:
        """Counts what is there.

        Returns:
            Rows.
        """
        ...

    def nearest(self, asked: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches through the target's own index.

        Args:
            asked: (n, dimension) float32.
            k: Most hits for each.

        Returns:
            For each vector asked for, chunk ids, best first.
        """
        ...

    def notes(self) -> list[str]:
        """Tells what the person who started the export should know.

        Returns:
            Sentences, without document text.
        """
        ...

    def close(self) -> None:
        """Lets go of connections and files. What was not finished is given up."""
        ...
