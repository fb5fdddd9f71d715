"""The quick starts as described in the README, with their model: one on some of its documents, one on all."""

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


def settings_of(small: dict[str, str], store: Path, source: Path, model_folder: Path) -> list[str]:
    places = {"store.path": store, "source.path": source, "model.path": model_folder.absolute()}
    properties = {f"spark.properties.{key}": value for key, value in small.items()}
    return [part for key, value in {**places, **properties}.items() for part in ("--set", f"{key}={value}")]


def printed_by(start: Start, root: Path, name: str, *arguments: str) -> str:
    """What a quick start prints, once nothing else than progress is on standard error."""
    script, config = root / "quickstart" / "quickstart.py", root / "conf" / name
    done = start(sys.executable, script, *arguments, "--config", config)
    assert done.returncode == 0, done.stderr
    # Progress, and nothing that Spark, Java or a library has to say.
    assert all(re.match(r"\d\d:\d\d:\d\d [a-z]", line) for line in done.stderr.splitlines()), done.stderr
    return done.stdout


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

    overrides = settings_of(small, tmp_path / "lake", source, model_folder)
    shown = printed_by(start, root, "quickstart.yaml", QUESTION, *overrides)
    assert f"library    {DOCUMENTS} embedded · 0 empty · 0 quarantined" in shown

    stored = query(tmp_path / "lake" / "python-docs" / "main" / "vectors", "SELECT doc_id, text, embedding FROM t")
    assert {row["doc_id"] for row in stored} == set(documents.column("doc_id").to_pylist()[:DOCUMENTS])
    model = SentenceTransformer(os.fspath(model_folder), device="cpu")
    texts = np.asarray([row["embedding"] for row in stored], dtype=np.float64)
    scores = texts @ model.encode_query(QUESTION).astype(np.float64)
    best = np.argsort(-scores)[:5]

    answers = re.findall(r"^ {2}\d  (-?\d\.\d{3})  (\S+) \[\d+:\d+\]  package=.*\n {12}(\S.*)$", shown, re.MULTILINE)
    assert [doc_id for _, doc_id, _ in answers] == [stored[place]["doc_id"] for place in best]
    printed = np.asarray([float(score) for score, _, _ in answers])
    # Three decimal places are printed.
    assert np.abs(printed - scores[best]).max() <= 0.0005 + 1e-4
    for (_, _, text), place in zip(answers, best, strict=True):
        assert " ".join(stored[place]["text"].split()).startswith(text.removesuffix(" ..."))


# A process and a session of its own, a minute or two: people run this to see what becomes of their own files.
def test_the_quick_start_of_documents_finds_page_row_and_section(
    start: Start,
    query: Callable[[str | Path, str], list[dict[str, Any]]],
    model_folder: Path,
    small: dict[str, str],
    root: Path,
    tmp_path: Path,
) -> None:
    from udfs.parsing.parse import parse
    from udfs.parsing.parsed import Limits

    folder, store = tmp_path / "handbook", tmp_path / "lake"
    done = start(sys.executable, root / "quickstart" / "write_documents.py", "--out", folder)
    assert done.returncode == 0, done.stderr
    overrides = settings_of(small, store, folder, model_folder)
    questions = re.findall(r'"([^"]+)"', (root / "Makefile").read_text().split("ABOUT_HANDBOOK := ")[1])[:3]
    shown = printed_by(start, root, "quickstart-documents.yaml", *questions, "-k", "2", *overrides)
    assert "library    12 embedded · 0 empty · 0 quarantined" in shown

    _, *answers = re.split("|".join(rf"^{re.escape(question)}\n" for question in questions), shown, flags=re.M)
    hits = [re.findall(r"^ {2}\d  -?\d\.\d{3}  (\S+) \[(\d+):(\d+)\]  ", answer, re.MULTILINE) for answer in answers]
    assert [len(found) for found in hits] == [2, 2, 2]
    first = [(name, int(begin), int(end)) for (name, begin, end), _ in hits]
    assert [name for name, _, _ in first] == ["keepers-manual.pdf", "harbour-fees.xlsx", "visitors-guide.docx"]
    stored = query(store / "handbook" / "main" / "vectors", "SELECT doc_id, char_start, text, context FROM t")
    texts = {(row["doc_id"], row["char_start"]): (row["text"], row["context"]) for row in stored}
    on_page, in_table, in_section = (texts[name, begin] for name, begin, _ in first)

    manual = parse((folder / "keepers-manual.pdf").read_bytes(), "keepers-manual.pdf", Limits())
    assert manual.pages[1] <= first[0][1] < first[0][2] <= manual.pages[2]
    assert "ring the bronze bell" in on_page[0]
    assert "| over 10, up to 12 | 31 | 17 | 180 | 1310 |" in in_table[0]
    # The section itself does not name the tower.
    assert in_section[0].startswith("### Children\n\nAnyone under six years stays below")
    assert in_section[1] == "Visitors' Guide > In the tower > Children"
