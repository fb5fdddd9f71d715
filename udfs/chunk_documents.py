"""The Spark wrapper for chunking: turns planned documents into staged chunks."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField

from schemas.context import CONTEXT_END
from schemas.staged import CUT
from schemas.vectors import CONTEXT, HEADINGS
from udfs.chunking.chunks import TokenCounter, chunk_text
from udfs.encoders.token_counter import load_token_counter
from udfs.specs import ChunkSpec, ModelSpec
from udfs.texts import is_blank, text_fault
from udfs.worker import require_version

Batches = Iterator[pa.RecordBatch]
# Columns of documents that `chunk_documents` reads.
CUTTABLE = ("doc_id", "text", "context", "refused")
# The namespace of chunk ids. Any fixed UUID would do, but it must never change.
_NAMESPACE = uuid.UUID("6f1d5c0e-3f0b-5b0a-9d57-0c1a8b1f2e4d")
_BATCH_ROWS = 2_000
# An Arrow string column can hold at most 2 GiB.
_BATCH_CHARACTERS = 32_000_000
_ARROW = to_arrow_schema(CUT)
# With a fifth of the characters unknown, most sentences lack a word. Japanese in an English model is about there,
# Chinese and Thai are far above, and symbols in English prose far below.
_UNREAD_SHARE = 0.2


def chunk_id(library: str, doc_id: str, text_hash: str, occurrence: int) -> str:
    """Derives a chunk's id from its content, so that the chunk keeps its id when its neighbors change.

    Args:
        library: Name of the library.
        doc_id: Id of the document.
        text_hash: SHA-256 (hex) of what the model sees of the chunk, without its prompt.
        occurrence: Number of earlier chunks of the document with the same text.

    Returns:
        A version 5 UUID.
    """
    return str(uuid.uuid5(_NAMESPACE, json.dumps([library, doc_id, text_hash, occurrence])))


def optional_columns(chunking: ChunkSpec) -> tuple[StructField, ...]:
    """Returns the columns of `vectors` that only some chunking rules fill, as far as this one does."""
    return (*([CONTEXT] if chunking.context else []), *([HEADINGS] if chunking.knows_headings else []))


def document_chunks(
    library: str,
    doc_id: str,
    text: str,
    chunking: ChunkSpec,
    counter: TokenCounter,
    max_tokens: int | None,
    context: str | None = None,
) -> list[dict[str, Any]]:
    """Cuts one document into rows of `schemas.staged.CUT`.

    Args:
        library: Name of the library.
        doc_id: Id of the document.
        text: Its composed text.
        chunking: The chunking rule.
        counter: Counts tokens as the model does.
        max_tokens: Longest input the model sees; None if it has no limit.
        context: What the context of each chunk begins with; None for nothing.

    Returns:
        One row for each chunk; a single row without a chunk if the document is blank or has a fault.
    """
    if is_blank(text):
        return [{"doc_id": doc_id}]
    fault = text_fault(text)
    if fault is not None:
        return [{"doc_id": doc_id, "reason": fault[0], "detail": fault[1]}]
    seen: Counter[str] = Counter()
    rows = []
    for index, chunk in enumerate(chunk_text(text, chunking, counter, context or "")):
        text_hash = hashlib.sha256((chunk.context + chunk.text).encode()).hexdigest()
        rows.append(
            {
                "doc_id": doc_id,
                "chunk_index": index,
                "chunk_id": chunk_id(library, doc_id, text_hash, seen[text_hash]),
                "char_start": chunk.char_start,
                "char_end": chunk.char_end,
                "text": chunk.text,
                "context": chunk.context.removesuffix(CONTEXT_END) or None,
                "headings": list(chunk.headings) if chunking.knows_headings else None,
                "text_hash": text_hash,
                "token_count": chunk.token_count,
                "truncated": max_tokens is not None and chunk.token_count > max_tokens,
                "unknown": chunk.unknown,
                "unread": chunk.hidden >= _UNREAD_SHARE * len(chunk.text),
            }
        )
        seen[text_hash] += 1
    return rows


def chunk_documents(library: str, chunking: ChunkSpec, model: ModelSpec) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that chunks documents. Call this on the driver.

    Args:
        library: Name of the library.
        chunking: The chunking rule.
        model: The model; its tokenizer counts the tokens.

    Returns:
        A function from batches with columns `CUTTABLE` to batches of `schemas.staged.CUT`.
    """
    version = require_version()

    def chunk(batches: Batches) -> Batches:
        require_version(version)
        rows: list[dict[str, Any]] = []
        characters = 0
        for batch in batches:
            # Not for a partition without documents.
            counter = _token_counter(model)
            for row in zip(*(batch.column(name) for name in CUTTABLE), strict=True):
                doc_id, text, context, refused = (value.as_py() for value in row)
                if refused is not None:
                    rows.append({"doc_id": doc_id, **refused})
                    continue
                rows += document_chunks(library, doc_id, text, chunking, counter, model.max_tokens, context)
                characters += len(text)
                if len(rows) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                    yield pa.RecordBatch.from_pylist(rows, schema=_ARROW)
                    rows, characters = [], 0
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=_ARROW)

    return chunk


# Once per worker, not per task: loading a multilingual vocabulary takes a second.
@lru_cache(maxsize=2)
def _token_counter(model: ModelSpec) -> TokenCounter:
    return load_token_counter(model, model.document_prompt)
