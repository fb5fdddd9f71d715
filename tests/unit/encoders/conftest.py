"""The model as sentence-transformers itself loads it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@pytest.fixture(scope="session")
def plain(model_folder: Path) -> "SentenceTransformer":
    """Whoever changes it takes a copy."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model_folder), device="cpu", local_files_only=True).eval()
