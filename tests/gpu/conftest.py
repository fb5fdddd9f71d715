"""A real model, its texts, and their vectors in float32 on the processor."""

import os
from pathlib import Path

import numpy as np
import pytest

from udfs.encoders.encoder import load_encoder
from udfs.inference.engine import embed_texts
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

WORDS = ["quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "rain", "falls", "on", "old", "roofs"]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Of 1 to 400 words in no order of length; some are longer than the model sees."""
    return [" ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(1 + (i * i) % 400)) for i in range(400)]


@pytest.fixture(scope="session")
def spec(model_folder: Path) -> InferenceSpec:
    return InferenceSpec(model=describe_model(str(model_folder)), device="cpu", dtype="float32", backend="torch")


@pytest.fixture(scope="session")
def on_cpu(spec: InferenceSpec, texts: list[str]) -> np.ndarray:
    return embed_texts(load_encoder(spec, cores=os.cpu_count() or 1), texts, spec).matrix
