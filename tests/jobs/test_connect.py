"""The whole job over Spark Connect, which has no Spark context. Shared and serverless clusters use it."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from deltalake import DeltaTable

from udfs.chunk_documents import chunk_id

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

FIRST = [
    {"id": "same", "text": "Owls hunt.", "lang": "en"},
    {"id": "edited", "text": "Bees fly.", "lang": "en"},
    {"id": "relabelled", "text": "Ants dig.", "lang": "en"},
    {"id": "gone", "text": "Dodos walk.", "lang": "en"},
]
EDITED = [
    {"id": "same", "text": "Owls hunt.", "lang": "en"},
    {"id": "edited", "text": "Bees fly far.", "lang": "en"},
    {"id": "relabelled", "text": "Ants dig.", "lang": "fr"},
    {"id": "new", "text": "Owls hunt.", "lang": "nl"},
]
LIBRARY = {
    "library_empty": 0,
    "library_quarantined": 0,
    "truncated": 0,
    "chunks_failed": 0,
    "chunks_taken": 0,
    "chunks_unread": 0,
    "tokens_taken": 0,
    "tokens_unknown": 0,
}
# Words and punctuation marks, plus two special tokens, for each embedded text.
COUNTS = [
    {
        **{"added": 4, "changed": 0, "retry": 0, "payload": 0, "removed": 0, "unchanged": 0},
        **{"library_embedded": 4, "library_chunks": 4, "slices": 1},
        **{"chunks": 4, "chunks_embedded": 4, "chunks_reused": 0, "tokens_embedded": 20, "tokens_saved": 0},
    },
    {
        **{"added": 0, "changed": 0, "retry": 0, "payload": 0, "removed": 0, "unchanged": 4},
        **{"library_embedded": 4, "library_chunks": 4, "slices": 0},
        **{"chunks": 0, "chunks_embedded": 0, "chunks_reused": 0, "tokens_embedded": 0, "tokens_saved": 0},
    },
    {
        **{"added": 1, "changed": 1, "retry": 0, "payload": 1, "removed": 1, "unchanged": 1},
        **{"library_embedded": 4, "library_chunks": 4, "slices": 1},
        **{"chunks": 2, "chunks_embedded": 1, "chunks_reused": 1, "tokens_embedded": 6, "tokens_saved": 5},
    },
]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def vector_row(doc_id: str, text: str, tokens: int, lang: str, run: int) -> dict[str, Any]:
    return {
        "chunk_id": chunk_id("toy", doc_id, sha256(text), 0),
        "doc_id": doc_id,
        "chunk_index": 0,
        "char_start": 0,
        "char_end": len(text),
        "text": text,
        "headings": [],
        "text_hash": sha256(text),
        "token_count": tokens,
        "truncated": False,
        "lang": lang,
        "run_id": f"toy.main.{run}",
    }


def ledger_row(doc_id: str, text: str, tokens: int, lang: str, run: int) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "text_hash": sha256(text),
        "payload_hash": sha256(f'{{"lang":"{lang}"}}'),
        "status": "embedded",
        "reason": None,
        "detail": None,
        "chunk_count": 1,
        "token_count": tokens,
        "truncated_count": 0,
        "attempts": 1,
        "source_version": None,
        "run_id": f"toy.main.{run}",
    }


DOCUMENTS = [
    ("edited", "Bees fly far.", 6, "en", 3),
    ("new", "Owls hunt.", 5, "nl", 3),
    ("relabelled", "Ants dig.", 5, "fr", 3),
    ("same", "Owls hunt.", 5, "en", 1),
]


def by_document(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["doc_id"])


# Worth its seconds: Connect uses a different client and server. The whole job runs in one session.
def test_the_job_needs_nothing_that_spark_connect_lacks(
    start: Callable[..., CompletedProcess[str]],
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    root: Path,
    tmp_path: Path,
) -> None:
    write_json(FIRST, "first.jsonl")
    write_json(EDITED, "edited.jsonl")
    settings = write_settings(tmp_path / "source.jsonl", source={"payload_columns": ["lang"]})
    done = start(sys.executable, root / "tests" / "jobs" / "connect_run.py", settings, tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)

    wanted = [{**LIBRARY, **counts} for counts in COUNTS]
    found = [{name: counts[name] for name in wanted[0]} for counts in answer["counts"]]
    assert found == wanted
    # The third run was forecast by the first; the second had nothing to do.
    assert ["estimated_tokens" in counts for counts in answer["counts"]] == [False, False, True]
    assert by_document(answer["vectors"]) == [vector_row(*document) for document in DOCUMENTS]
    assert by_document(answer["ledger"]) == [ledger_row(*document) for document in DOCUMENTS]
    # The second space takes what the first one has.
    assert answer["in_one_pass"] == [[0, 0, "None"], [4, 4, "None"]]
    assert answer["from_feed"] == [1, 2, "change feed"]
    stored, made, of_blank, of_null = answer["in_sql"]
    assert len(stored) == 8 and made == stored
    assert (of_blank, of_null) == (None, None)
    assert answer["slots"] == 2
    # Connect's own types of text would keep other readers out.
    logs = list(tmp_path.rglob("_delta_log"))
    assert [log for log in logs if "collate" in DeltaTable(log.parent).schema().to_json()] == []
    assert {log.parent.name for log in logs} >= {"runs", "spaces", "vectors", "ledger", "hits"}
