"""The quick start as described in the README, on some of its documents and with its model."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.command import Completed

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

Start = Callable[..., Completed]
QUESTION = "How is a template loaded?"
DOCUMENTS = 40


# Worth its seconds: people run this first.
def test_the_quick_start_finds_the_nearest_chunks(
    start: Start,
    query: Callable[[str | Path, str], list[dict[str, Any]]],
    model_folder: Path,
    small: dict[str, str],
    root: Path,
    tmp_path: Path,
) -> None:
    from sentence_transformers import SentenceTransformer

    collected, source = tmp_path / "collected.parquet", tmp_path / "docstrings.parquet"
    done = start(sys.executable, root / "quickstart" / "collect_docstrings.py", "--out", collected)
    assert done.returncode == 0, done.stderr
    documents = pq.read_table(collected)
    assert documents.num_rows == 600
    pq.write_table(documents.slice(0, DOCUMENTS), source)

    places = {"store.path": tmp_path / "lake", "source.path": source, "model.path": model_folder.absolute()}
    properties = {f"spark.properties.{key}": value for key, value in small.items()}
    overrides = [part for key, value in {**places, **properties}.items() for part in ("--set", f"{key}={value}")]
    script, config = root / "quickstart" / "quickstart.py", root / "conf" / "quickstart.yaml"
    done = start(sys.executable, script, QUESTION, "--config", config, *overrides)
    assert done.returncode == 0, done.stderr
    assert f"library    {DOCUMENTS} embedded · 0 empty · 0 quarantined" in done.stdout
    # Progress, and nothing that Spark, Java or a library has to say.
    assert all(re.match(r"\d\d:\d\d:\d\d [a-z]", line) for line in done.stderr.splitlines()), done.stderr

    stored = query(tmp_path / "lake" / "python-docs" / "main" / "vectors", "SELECT doc_id, text, embedding FROM t")
    assert {row["doc_id"] for row in stored} == set(documents.column("doc_id").to_pylist()[:DOCUMENTS])
    model = SentenceTransformer(os.fspath(model_folder), device="cpu")
    texts = np.asarray([row["embedding"] for row in stored], dtype=np.float64)
    scores = texts @ model.encode_query(QUESTION).astype(np.float64)
    best = np.argsort(-scores)[:5]

    answers = re.findall(
        r"^ {2}\d  (-?\d\.\d{3})  (\S+) \[\d+:\d+\]  package=.*\n {12}(\S.*)$", done.stdout, re.MULTILINE
    )
    assert [doc_id for _, doc_id, _ in answers] == [stored[place]["doc_id"] for place in best]
    printed = np.asarray([float(score) for score, _, _ in answers])
    # Three decimal places are printed.
    assert np.abs(printed - scores[best]).max() <= 0.0005 + 1e-4
    for (_, _, text), place in zip(answers, best, strict=True):
        assert " ".join(stored[place]["text"].split()).startswith(text.removesuffix(" ..."))
