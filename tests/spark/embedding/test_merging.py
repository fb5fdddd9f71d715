"""The two commits of a slice in a library so large that its untouched rows are spared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from tests.support.refresh.oracle import query

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

_TEXT = " ".join(f"Owl {number} hunts mice at night in the old barn." for number in range(12))
BEFORE = [
    {"id": "id of moved", "text": _TEXT, "n": 1},
    {"id": "id of changed", "text": "Bees make honey.", "n": 1},
    {"id": "id of payload", "text": "Elms grow slowly.", "n": 1},
    {"id": "id of removed", "text": "Ants march.", "n": 1},
    {"id": "id of same", "text": "Cows sleep.", "n": 1},
]
AFTER = [
    # Its last chunks stay what they were, at other places.
    {"id": "id of moved", "text": f"Ducks swim. {_TEXT}", "n": 1},
    {"id": "id of changed", "text": "Wasps make paper.", "n": 1},
    {"id": "id of payload", "text": "Elms grow slowly.", "n": 2},
    {"id": "id of same", "text": "Cows sleep.", "n": 1},
    {"id": "id of added", "text": "Dogs bark.", "n": 1},
]


def rows(settings: Settings) -> list[dict[str, Any]]:
    columns = "chunk_id, doc_id, chunk_index, char_start, char_end, text, embedding, n"
    space = Path(str(settings.store.path), "toy", "main")
    return [dict(row) for row in query(space / "vectors", f"select {columns} from t order by chunk_id")]


def test_a_merge_that_names_hashes_changes_the_rows_that_a_rebuild_would(
    spark: SparkSession,
    write_json: Callable[..., str],
    make_settings: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sections: dict[str, Any] = {"chunking": {"max_tokens": 24}, "source": {"payload_columns": ["n"]}}
    settings = make_settings(write_json(BEFORE), **sections)
    run(spark, settings)
    write_json(AFTER)
    monkeypatch.setattr("spark_jobs.embedding.store_state._LARGE", 0)
    counts = run(spark, settings).counts
    assert [counts[name] for name in ("added", "changed", "payload", "removed")] == [1, 2, 1, 1]
    rebuilt = settings.model_copy(update={"store": settings.store.model_copy(update={"path": str(tmp_path / "new")})})
    run(spark, rebuilt)
    assert rows(settings) == rows(rebuilt)
    for table in ("vectors", "ledger"):
        made = DeltaTable(Path(str(settings.store.path), "toy", "main", table)).history(1)[0]
        assert made["operation"] == "MERGE"
        told = str(made["operationParameters"])
        assert "xxhash64" in told
        # The table's history names nobody's id.
        assert "id of" not in told
