"""Paths without a scheme are where the session looks for them."""

from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import PySparkException

from spark_jobs.settings import Settings, as_settings
from spark_jobs.store.file_system import with_file_system


class Session:
    """Knows its default file system, or does not tell."""

    def __init__(self, root: str | None) -> None:
        self.root = root

    def sql(self, statement: str) -> Any:
        assert statement == "SET fs.defaultFS"
        if self.root is None:
            raise PySparkException("the property is not available")
        return SimpleNamespace(collect=lambda: [SimpleNamespace(value=self.root)])


def settings_of(store: dict[str, str], **source: str) -> Settings:
    columns = {"format": "json", "id_column": "id", "text_columns": ["text"]}
    return as_settings({"library": "toy", "store": store, "source": {**columns, **source}, "model": {"path": "fake:8"}})


@pytest.mark.parametrize(
    ("root", "store", "source"),
    [
        ("dbfs:///", "dbfs:/lake", "dbfs:/docs"),
        ("hdfs://server:8020", "hdfs://server:8020/lake", "hdfs://server:8020/docs"),
        ("s3a://bucket/", "s3a://bucket/lake", "s3a://bucket/docs"),
    ],
)
def test_a_path_without_a_scheme_is_on_the_default_file_system(root: str, store: str, source: str) -> None:
    session: Any = Session(root)
    completed = with_file_system(session, settings_of({"path": "/lake"}, path="/docs"))
    assert (completed.store.path, completed.source.path) == (store, source)
    assert not completed.store.is_local


@pytest.mark.parametrize("root", ["file:///", "file:/", "<undefined>", None])
def test_paths_stay_where_the_default_file_system_is_local_or_unknown(root: str | None) -> None:
    session: Any = Session(root)
    settings = settings_of({"path": "/lake"}, path="/docs")
    assert with_file_system(session, settings) is settings
    assert settings.store.is_local


def test_paths_with_a_scheme_and_names_of_tables_stay() -> None:
    session: Any = Session("dbfs:///")
    settings = settings_of({"path": "file:/lake"}, path="s3a://bucket/docs")
    assert with_file_system(session, settings) == settings
    catalog = settings_of({"catalog": "main", "schema": "retrieval"}, format="table", table="docs")
    assert with_file_system(session, catalog) == catalog
