"""The protocol that every export target implements, and the format of the rows it receives."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What the rows of an export look like, and who owns them.

    Attributes:
        owner: Library and space, then the model's fingerprint as the last word, such as
            `embedlake python-docs.main 3f2a`. Written into the target and compared at each export.
        dimension: Numbers in an embedding.
        rows: Columns: chunk_id string (a UUID), doc_id string, chunk_index int32, char_start int32, char_end int32,
            text string, the payload columns under their own names, run_id string, and last embedding
            fixed_size_list<float32>[dimension].
        table: Delta's id of the exported table. Another store may have a library and space of the same names.
        earlier_tables: Ids of the library's other tables that this store has exported. A target with the rows of one of
            them changes to this table.
        earlier_owners: Owners whose rows this store has exported to this target. They vouch for a target that an
            earlier version stamped without the table's id.
    """

    owner: str
    dimension: int
    rows: pa.Schema
    table: str
    earlier_tables: frozenset[str] = frozenset()
    earlier_owners: frozenset[str] = frozenset()


class Target(Protocol):
    """A system that vectors are exported to. Scores are dot products, which for unit vectors are cosines.

    An export calls `prepare`, then `send` and `remove` any number of times in any order, then `finish`. Unfinished
    changes may be lost or may already be visible; repeating the export gives the same rows either way.

    Where the target holds the rows of another space of the library (see `stamp.replaced_space`), the new rows are
    collected beside them, `finish` switches readers to them at once, and then the old rows go. Before the switch an
    export may be killed at any point without a trace; what it leaves beside the rows is removed by the next `prepare`.
    """

    def stamp(self) -> object:
        """Reads the ownership stamp, before `prepare` too.

        Returns:
            The stamp as JSON values, or anything else if embedlake did not create the target; None if the target does
            not exist.

        Raises:
            InputError: The target cannot be reached or read.
        """
        ...

    def prepare(self, row_format: RowFormat, full: bool) -> bool:
        """Checks what the target contains, and creates what is missing.

        Args:
            row_format: Format and owner of the rows to be sent.
            full: Whether to start over. Only then are rows with a different model, dimension or columns replaced.

        Returns:
            Whether the target already contained rows of this owner.

        Raises:
            InputError: The target cannot be reached or written, contains something that embedlake did not create, or
                belongs to another library or store, or, unless all its rows are replaced, to another model, dimension
                or set of columns.
        """
        ...

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists the rows of the target, before `prepare` too; none if the target does not exist.

        Returns:
            Batches of chunk_id string and run_id string, read in bounded memory.
        """
        ...

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Inserts rows, and replaces those whose chunk_id exists. If an id is sent twice, the later row counts.

        Args:
            rows: Batches with the columns of `RowFormat.rows`.
        """
        ...

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Removes rows; ids that do not exist are ignored.

        Args:
            ids: Arrays of chunk_id, string.
        """
        ...

    def finish(self) -> None:
        """Builds the target's own index and makes all changes visible, atomically if the system can."""
        ...

    def count(self) -> int:
        """Counts the rows of the target."""
        ...

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches through the target's own index.

        Args:
            queries: (n, dimension) float32.
            k: Maximum number of hits per query.

        Returns:
            The chunk ids found for each query, best first.
        """
        ...

    def notes(self) -> list[str]:
        """Lists what the user should know about this export, in sentences without document text."""
        ...

    def close(self) -> None:
        """Releases connections and files, and discards unfinished changes."""
        ...


@contextmanager
def optional_package(kind: str, package: str) -> Iterator[None]:
    """Turns a failed import of the optional package that a kind of target needs into an InputError."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"the target {kind} needs the package {package}, which is not installed. "
            f"Run pip install 'embedlake[{kind}]'."
        ) from error
