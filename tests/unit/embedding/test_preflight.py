"""A source that is a table of the store is refused, however its name is written."""

from typing import Any

import pytest

from schemas.errors import InputError
from spark_jobs.embedding.preflight import check_store
from spark_jobs.settings import Settings, as_settings


def settings_of(store: dict[str, str], table: str) -> Settings:
    source: dict[str, Any] = {"format": "table", "table": table, "id_column": "id", "text_columns": ["text"]}
    return as_settings({"library": "Toy", "store": store, "source": source, "model": {"path": "fake:8"}})


@pytest.mark.parametrize(
    "table",
    [
        "main.`my.schema`.Toy__main__vectors",
        "MAIN.`My.Schema`.toy__main__ledger",
        "main . `my.schema` . `toy__vectors`",
        "`main`.`my.schema`.`embedlake__runs`",
    ],
)
def test_a_table_of_the_catalog_that_the_store_is_in(table: str) -> None:
    with pytest.raises(InputError, match="is a table of the store"):
        check_store(settings_of({"catalog": "main", "schema": "my.schema"}, table))


@pytest.mark.parametrize("table", ["main.my.schema.Toy__main__vectors", "main.`my.schema`.toy__main__other"])
def test_a_table_beside_the_store(table: str) -> None:
    check_store(settings_of({"catalog": "main", "schema": "my.schema"}, table))


def test_a_table_named_by_its_path() -> None:
    store = {"path": "/data/my.lake"}
    with pytest.raises(InputError, match="overlap"):
        check_store(settings_of(store, "delta.`file:/data/my.lake/Toy/main/vectors`"))
    check_store(settings_of(store, "delta.`/data/docs`"))
    check_store(settings_of(store, "delta.my_table"))
