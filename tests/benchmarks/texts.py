"""The texts that are embedded: abstracts of mixed length, and short pages."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.validate.real_data import DATA, MODEL  # noqa: E402

__all__ = ["DATA", "MODEL", "ROOT", "mixed", "short"]


def mixed(count: int) -> list[str]:
    """Takes abstracts of SciFact with their titles, evenly over the file.

    Args:
        count: Texts wanted.

    Returns:
        The texts.
    """
    with (DATA / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    return _evenly([f"{document['title']} {document['text']}".strip() for document in documents], count)


def short(count: int) -> list[str]:
    """Takes tldr pages, evenly over the snapshot.

    Args:
        count: Texts wanted.

    Returns:
        The texts.
    """
    (path,) = sorted((DATA / "tldr-en").glob("*2026*.jsonl*"))[-1:]
    with _opened(path) as lines:
        return _evenly([json.loads(line)["text"] for line in lines], count)


def _opened(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _evenly(texts: list[str], count: int) -> list[str]:
    return [texts[number * len(texts) // count] for number in range(min(count, len(texts)))]
