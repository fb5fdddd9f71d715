"""Small libraries to embed, in the session that all tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from tests.support.template import OWLS, Document, settings_of, template_loader, write_documents


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[[list[Document]], str]:
    """Writes documents as JSON lines, replacing the previous content."""
    return lambda documents, name="source": write_documents(documents, tmp_path / f"{name}.jsonl")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a small JSON lines library with the fake model; keywords are merged into their sections."""
    return lambda source_path, **sections: settings_of(tmp_path, source_path, **sections)


@pytest.fixture(scope="session")
def load_template(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Copies a library into a folder; each library is loaded once per session. See `template_loader`."""
    return template_loader(spark, tmp_path_factory.mktemp("templates"))


@pytest.fixture
def loaded(load_template: Callable[..., Settings], tmp_path: Path) -> Callable[..., Settings]:
    """Settings of this test's own copy of a loaded library; `write_json` and `make_settings` work on the copy."""

    def load(documents: list[Document], **sections: Any) -> Settings:
        return load_template(tmp_path, documents, **sections)

    return load


@pytest.fixture(scope="session")
def two_spaces(
    spark: SparkSession, load_template: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A read-only library with the space `main`, and the space `small` with a different model."""
    settings = load_template(tmp_path_factory.mktemp("two-spaces"), OWLS, chunking={"max_tokens": 64})
    model = settings.model.model_copy(update={"path": "fake:16"})
    run(spark, settings.model_copy(update={"space": "small", "model": model}))
    return settings
