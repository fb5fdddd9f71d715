"""Reads the real libraries that the validations embed, and writes them as sources for Spark."""

import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Document = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TEST_DATA_FOLDER", ROOT.parent / "shared" / "data"))
MODEL = Path(os.environ.get("TEST_MODEL_FOLDER", ROOT / "models" / "all-MiniLM-L6-v2"))


@dataclass(frozen=True)
class Step:
    """A refresh from one edition of a library to the next.

    Attributes:
        name: Name of the edition that it leads to.
        documents: The documents of that edition.
        inserted: Ids of those that the edition before it has not.
        updated: Ids of those that had another text.
        deleted: Ids that only the edition before it has.
    """

    name: str
    documents: list[Document]
    inserted: frozenset[str]
    updated: frozenset[str]
    deleted: frozenset[str]


def need(*places: Path) -> None:
    """Stops the script where a file or folder that it reads is not there.

    Args:
        *places: Files and folders.
    """
    absent = [str(place) for place in places if not place.exists()]
    if absent:
        sys.exit(f"needs {' and '.join(absent)}: see TEST_DATA_FOLDER, TEST_MODEL_FOLDER and make install")


def read_steps(library: str, editions: list[str], most: int | None = None) -> list[Step]:
    """Reads the editions of a library with the true lists of what changed between them.

    Args:
        library: Name of the data set's folder.
        editions: Names of the editions, oldest first.
        most: How many ids, the first in order over all editions, are kept for a trial; all where None.

    Returns:
        One step for each edition; the first inserts all of its documents.
    """
    folder = DATA / library
    files = [folder / f"{edition}.jsonl.gz" for edition in editions]
    lists = [folder / f"changes_{old}_{new}.json.gz" for old, new in pairwise(editions)]
    need(*files, *lists)
    libraries = [list(_lines(file)) for file in files]
    kept = set(sorted({document["doc_id"] for documents in libraries for document in documents})[:most])
    libraries = [[document for document in documents if document["doc_id"] in kept] for documents in libraries]
    first = {"inserted": [document["doc_id"] for document in libraries[0]], "updated": [], "deleted": []}
    changes = [first, *(json.loads(gzip.decompress(file.read_bytes())) for file in lists)]
    return [
        Step(edition, documents, *(frozenset(change[kind]) & kept for kind in ("inserted", "updated", "deleted")))
        for edition, documents, change in zip(editions, libraries, changes, strict=True)
    ]


def _lines(file: Path) -> Iterator[Document]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_corpus(most: int | None = None) -> list[Document]:
    """Reads the abstracts of SciFact.

    Args:
        most: How many, for a trial; all where None.

    Returns:
        Documents with the columns doc_id, title and text.
    """
    file = DATA / "scifact" / "corpus.jsonl"
    need(file)
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [{"doc_id": row["_id"], "title": row["title"], "text": row["text"]} for row in rows[:most]]


def write_source(folder: Path, documents: list[Document]) -> None:
    """Writes documents as Parquet over whatever a source folder held.

    Args:
        folder: The source's folder.
        documents: At least one document; all with the same columns, which are texts.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(documents), folder / "documents.parquet")
