"""The model as sentence-transformers itself loads it, and conversions that are made once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@pytest.fixture(scope="session")
def plain(model_folder: Path) -> "SentenceTransformer":
    """Whoever changes it takes a copy."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model_folder), device="cpu", local_files_only=True).eval()


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    results: list[Any] = []

    def first_result(*given: Any, **options: Any) -> Any:
        results.extend([] if results else [function(*given, **options)])
        return results[0]

    return first_result


@pytest.fixture(scope="module")
def converted_once() -> Iterator[None]:
    """For modules whose encoders are all of one model and take the same inputs: one conversion serves them all."""
    import torch

    from udfs.encoders.openvino import import_openvino

    package = import_openvino()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.jit, "trace", _once(torch.jit.trace))
        patch.setattr(package, "convert_model", _once(package.convert_model))
        yield
