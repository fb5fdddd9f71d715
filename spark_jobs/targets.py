"""The systems that vectors are exported to: what each of them can do, and how `--to` names one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.postgresql_place import PostgresqlPlace
from spark_jobs.target_address import Address, parse


@dataclass(frozen=True, slots=True)
class Shape:
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

    def prepare(self, shape: Shape, full: bool) -> bool:
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


def open_target(text: str) -> Target:
    """Opens the target that `--to` names, without touching it yet.

    Args:
        text: One of `target_address.FORMS`.

    Returns:
        The target.

    Raises:
        InputError: The text has none of the forms, or a package that the kind needs is not installed.
    """
    address = parse(text)
    if isinstance(address, PostgresqlPlace):
        from spark_jobs.target_postgresql import PostgresqlTarget

        return PostgresqlTarget(address)
    return _opened(address)


def _opened(address: Address) -> Target:
    if address.kind == "parquet":
        from spark_jobs.target_parquet import ParquetTarget

        return ParquetTarget(Path(address.place))
    if address.kind == "lancedb":
        from spark_jobs.target_lancedb import LanceTarget

        return LanceTarget(address)
    if address.kind == "qdrant":
        from spark_jobs.target_qdrant import QdrantTarget

        return QdrantTarget(address)
    from spark_jobs.target_index import IndexTarget

    if address.kind == "faiss":
        from spark_jobs.index_faiss import FaissKind

        return IndexTarget(Path(address.place), FaissKind())
    from spark_jobs.index_usearch import UsearchKind

    return IndexTarget(Path(address.place), UsearchKind())


def printed(text: str) -> str:
    """Names a target so that the name may be printed and stored: it has no credentials, and means one place.

    Args:
        text: One of `target_address.FORMS`.

    Returns:
        The name: folders absolute, with links resolved; a PostgreSQL server as libpq's environment completes it.

    Raises:
        InputError: The text has none of the forms.
    """
    return str(parse(text))
