"""What the tables must contain, computed in plain Python from the documents alone."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from schemas.staged import READ_FIELDS
from schemas.vectors import CONTEXT
from udfs.chunk_documents import document_chunks
from udfs.encoders.fake import FAKE_MAX_TOKENS, NOT_FINITE, RAISES, FakeEncoder, FakeTokenCounter
from udfs.specs import ChunkSpec

Documents = dict[str, tuple[str, int]]
Row = dict[str, Any]
DIMENSION = 8
MAX_TOKENS = 16
_CHUNKING = ChunkSpec(method="structure", max_tokens=MAX_TOKENS, min_tokens=MAX_TOKENS // 4)
_COUNTER = FakeTokenCounter()
# What is counted while a text is cut and not stored, and what only spaces whose chunks have a context store.
_NOT_STORED = [*(field.name for field in READ_FIELDS), CONTEXT.name]
_KEPT = "chunk_id, doc_id, chunk_index, char_start, char_end, text, headings, text_hash, token_count, truncated, n, "
_KEPT += "embedding"


def fails(text: str) -> bool:
    """Whether the fake model fails on any chunk of a text."""
    return NOT_FINITE in text or RAISES in text


def chunks_of(doc_id: str, text: str, number: int) -> list[Row]:
    """Lists the rows of a document that is built from scratch, without vectors."""
    rows = document_chunks("toy", doc_id, text, _CHUNKING, _COUNTER, FAKE_MAX_TOKENS)
    kept = [{key: value for key, value in row.items() if key not in _NOT_STORED} for row in rows if "chunk_id" in row]
    return [{**row, "n": number} for row in kept]


def query(folder: Path, sql: str) -> list[Row]:
    """Reads a table with a reader that shares no code with Spark."""
    return pa.table(QueryBuilder().register("t", DeltaTable(folder)).execute(sql).read_all()).to_pylist()


@dataclass
class Oracle:
    """Knows what may be stored for each document.

    A document that fails keeps the rows of its last good text. After a crash, this may be a text that the crashed run
    had committed. So each document has a set of (text, payload) pairs, and the rows of any of them are correct; None
    means no rows. After a run that reports success, only documents that fail can have more than one pair.
    """

    served: dict[str, set[tuple[str, int] | None]] = field(default_factory=dict)

    def attempted(self, documents: Documents) -> None:
        """Notes that a run on these documents started and may have committed any part of them."""
        for doc_id in self.served.keys() | documents.keys():
            before = self.served.get(doc_id, {None})
            self.served[doc_id] = before | self._after(before, documents.get(doc_id))

    def succeeded(self, documents: Documents, folder: Path) -> list[str]:
        """Compares the tables with what they must contain after a run that reported success.

        Returns:
            One sentence for each thing that is wrong.
        """
        vectors = query(folder / "vectors", f"select {_KEPT} from t order by doc_id, chunk_index")
        stored: dict[str, list[Row]] = {}
        for row in vectors:
            stored.setdefault(row["doc_id"], []).append(row)
        faults = [f"{doc_id}: rows of a document that is gone" for doc_id in stored.keys() - documents.keys()]
        served: dict[str, set[tuple[str, int] | None]] = {}
        for doc_id, (text, number) in documents.items():
            allowed = self._after(self.served.get(doc_id, {None}), (text, number))
            found = [{k: v for k, v in row.items() if k != "embedding"} for row in stored.get(doc_id, [])]
            served[doc_id] = {one for one in allowed if _rows(doc_id, one) == found}
            if not served[doc_id]:
                faults.append(f"{doc_id}: stored {found}, allowed {[_rows(doc_id, one) for one in allowed]}")
        self.served = served
        return faults + self._ledger_faults(documents, stored, folder) + _vector_faults(vectors)

    @staticmethod
    def _after(before: set[tuple[str, int] | None], document: tuple[str, int] | None) -> set[tuple[str, int] | None]:
        if document is None:
            return {None}
        text, number = document
        if not fails(text):
            return {(text, number)}
        # The rows of a failed document follow its payload only if nothing but the payload changes.
        return before | {one and (one[0], number) for one in before}

    @staticmethod
    def _ledger_faults(documents: Documents, stored: dict[str, list[Row]], folder: Path) -> list[str]:
        columns = "doc_id, text_hash, status, reason, chunk_count, token_count"
        found = query(folder / "ledger", f"select {columns} from t order by doc_id")
        expected = []
        for doc_id, (text, number) in sorted(documents.items()):
            chunks = chunks_of(doc_id, text, number)
            status = "quarantined" if fails(text) else "embedded" if chunks else "empty"
            expected.append(
                {
                    "doc_id": doc_id,
                    "text_hash": hashlib.sha256(text.encode()).hexdigest(),
                    "status": status,
                    "reason": "invalid_vector" if NOT_FINITE in text else "model_error" if fails(text) else None,
                    "chunk_count": len(stored.get(doc_id, [])) if fails(text) else len(chunks),
                    "token_count": 0 if fails(text) else sum(chunk["token_count"] for chunk in chunks),
                }
            )
        return [f"ledger: {a} instead of {b}" for a, b in zip(found, expected, strict=False) if a != b] + (
            [f"ledger: {len(found)} rows instead of {len(expected)}"] if len(found) != len(expected) else []
        )


def _rows(doc_id: str, one: tuple[str, int] | None) -> list[Row]:
    return [] if one is None else chunks_of(doc_id, *one)


def _vector_faults(vectors: list[Row]) -> list[str]:
    if not vectors:
        return []
    expected = FakeEncoder(DIMENSION).encode([row["text"] for row in vectors])
    found = np.array([row["embedding"] for row in vectors], dtype=np.float32)
    return [] if np.array_equal(found, expected) else ["a stored vector is not that of its text"]
