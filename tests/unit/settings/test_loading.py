"""Settings: defaults, what is refused and with which message, and which of three sources wins."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from schemas.errors import InputError
from spark_jobs.settings import Settings, as_settings, load_settings, load_spaces
from tests.support.paths import ROOT

SMALLEST: dict[str, Any] = {
    "library": "handbook",
    "store": {"path": "/lake"},
    "source": {"format": "parquet", "path": "/books", "id_column": "id", "text_columns": ["body"]},
    "model": {"path": "fake:8"},
}
SMALLEST_YAML = yaml.safe_dump(SMALLEST)
REMOVE = object()


def settings_with(*changes: tuple[str, Any]) -> Settings:
    return as_settings(values_with(*changes))


def values_with(*changes: tuple[str, Any]) -> dict[str, Any]:
    values = deepcopy(SMALLEST)
    for key, value in changes:
        *groups, last = key.split(".")
        group = values
        for name in groups:
            group = group.setdefault(name, {})
        if value is REMOVE:
            del group[last]
        else:
            group[last] = value
    return values


def faults_of(*changes: tuple[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        settings_with(*changes)
    return caught.value.faults


def loaded(
    folder: Path, overrides: list[str] | None = None, environ: dict[str, str] | None = None, text: str = SMALLEST_YAML
) -> Settings:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, overrides, environ or {})


def refusal(
    folder: Path, overrides: list[str] | None = None, environ: dict[str, str] | None = None, text: str = SMALLEST_YAML
) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder, overrides, environ, text)
    return str(caught.value)


def test_everything_but_the_essentials_has_a_default() -> None:
    assert as_settings(SMALLEST).model_dump(by_alias=True) == {
        "library": "handbook",
        "space": "main",
        "spaces": [],
        "store": {"path": "/lake", "catalog": None, "schema": None, "vector_encoding": "byte_stream_split"},
        "source": {
            "format": "parquet",
            "path": "/books",
            "table": None,
            "options": {},
            "id_column": "id",
            "text_columns": ["body"],
            "text_separator": " ",
            "payload_columns": [],
            "filter": None,
            "track": "auto",
            "parse_seconds": 60.0,
            "parse_megabytes": 1024,
        },
        "chunking": {"method": "structure", "rules": None, "max_tokens": None, "min_tokens": None, "context": []},
        "model": {
            "path": "fake:8",
            "revision": None,
            "cache": None,
            "document_prompt": None,
            "query_prompt": None,
            "dimensions": None,
            "normalize": None,
            "precision": "float32",
            "dtype": "auto",
        },
        "inference": {
            "device": "auto",
            "token_budget": "auto",
            "backend": "auto",
            "cache": None,
            "resource_profile": "auto",
        },
        "run": {
            "slice_tokens": "auto",
            "slice_rows": 500_000,
            "slice_seconds": 600,
            "stale_after_seconds": 3600,
            "memory_tokens": 250_000,
            "full_check_every": 20,
            "max_attempts": 3,
            "on_failed_update": "keep",
            "max_quarantined_fraction": 0.01,
            "max_removed_fraction": 0.3,
            "max_tokens": None,
            "max_cost": None,
        },
        "maintenance": {"file_megabytes": 256, "retention_hours": 168},
        "follow": {"poll_seconds": 30},
        "promotion": {
            "queries": None,
            "judgements": None,
            "measure": "nDCG@10",
            "max_loss": 0,
            "min_coverage": 0.99,
            "keep_days": 7,
        },
        "cost": {"per_hour": None, "currency": "USD"},
        "spark": {"master": "local[*]", "properties": {}},
    }


def test_settings_are_immutable() -> None:
    settings = as_settings(SMALLEST)
    with pytest.raises(ValueError, match="frozen"):
        settings.space = "other"  # type: ignore[misc]


def test_empty_settings_name_everything_that_is_missing() -> None:
    with pytest.raises(InputError) as caught:
        as_settings({})
    assert caught.value.faults == tuple(
        f"{key} is missing. Add it to the settings file." for key in ("library", "store", "source", "model")
    )


def test_all_faults_are_reported_at_once_with_their_keys() -> None:
    faults = faults_of(
        ("library", REMOVE),
        ("model.path", REMOVE),
        ("source.text_colums", ["body"]),
        ("run.slice_tokens", "many"),
        ("chunking", {"method": "none", "max_tokens": 100}),
        ("source.options.nested", [1]),
    )
    assert set(faults) == {
        "library is missing. Add it to the settings file.",
        "model.path is missing. Add it to the settings file.",
        "source.text_colums is not a setting. Did you mean text_columns?",
        "run.slice_tokens: should be 'auto', not 'many'",
        "run.slice_tokens: should be a valid integer, not 'many'",
        "chunking: max_tokens and min_tokens go with method structure",
        "source.options.nested: should be a valid string",
    }
    assert len(faults) == 7


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("modle", "Did you mean model?"),
        ("model.pth", "Did you mean path?"),
        ("store.schema_", "Did you mean schema?"),
        ("run.slice_token", "Did you mean slice_tokens?"),
        ("inference.cores", "Known settings are device, token_budget, backend, cache, resource_profile."),
        ("store.zzz", "Known settings are path, catalog, schema, vector_encoding."),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(key: str, advice: str) -> None:
    assert faults_of((key, 1)) == (f"{key} is not a setting. {advice}",)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("library", 5, "should be a valid string, not 5"),
        ("library", None, "should be a valid string"),
        ("source", "books", "should be a valid dictionary or instance of SourceSettings"),
        ("source.format", "xml", "'table', 'files' or 'documents', not 'xml'"),
        ("source.text_columns", "body", "should be a valid list, not 'body'"),
        ("source.options", [1], "should be a valid dictionary"),
        ("source.filter", "", "at least 1 character"),
        ("model.dimensions", 0, "greater than or equal to 1, not 0"),
        ("model.dimensions", "384", "should be a valid integer, not '384'"),
        ("model.normalize", "yes", "should be a valid boolean, not 'yes'"),
        ("model.normalize", 1, "should be a valid boolean, not 1"),
        ("model.dtype", "float64", "not 'float64'"),
        ("inference.device", "gpu", "not 'gpu'"),
        ("inference.device", "cuda:", "not 'cuda:'"),
        ("inference.device", "cpu\n", "not 'cpu\\n'"),
        ("inference.token_budget", 15, "should be greater than or equal to 16, not 15"),
        ("inference.token_budget", "much", "not 'much'"),
        ("inference.backend", "onnx", "not 'onnx'"),
        ("model.cache", "cache", "is not an absolute path. Write one, such as /Volumes/"),
        ("model.cache", "s3://bucket/cache", "is not an absolute path"),
        ("inference.cache", True, "should be a valid string"),
        ("inference.cache", "cache", "is neither off nor an absolute path on the workers. Write one, such as /var/"),
        ("inference.cache", "s3://bucket/cache", "is neither off nor an absolute path on the workers"),
        ("inference.resource_profile", True, "should be 'auto' or 'off'"),
        ("run.slice_tokens", 1e6, "should be a valid integer, not 1000000.0"),
        ("run.slice_tokens", True, "should be a valid integer, not True"),
        ("run.max_removed_fraction", True, "should be a valid number, not True"),
        ("run.max_removed_fraction", 1.01, "less than or equal to 1, not 1.01"),
        ("run.max_removed_fraction", -0.1, "greater than or equal to 0, not -0.1"),
        ("run.max_removed_fraction", float("nan"), "finite number"),
        ("run.max_quarantined_fraction", float("inf"), "finite number"),
        ("chunking.max_tokens", 15, "greater than or equal to 16, not 15"),
        ("chunking.min_tokens", 0, "greater than or equal to 1, not 0"),
        ("chunking.rules", 0, "greater than or equal to 1, not 0"),
        ("chunking.rules", 3, "less than or equal to 2, not 3"),
        ("spark.properties", {"spark.x": None}, "should be a valid string"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(key: str, value: object, words: str) -> None:
    faults = faults_of((key, value))
    # For a value of one of two kinds, both are named; every part of the path is a key.
    assert all(fault.startswith((f"{key}: ", "spark.properties.spark.x: ")) for fault in faults), faults
    assert any(words in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ([("store.path", REMOVE)], "store: set either path, or catalog and schema"),
        ([("store.catalog", "c"), ("store.schema", "s")], "store: set either path, or catalog and schema"),
        ([("store.path", REMOVE), ("store.catalog", "c")], "store: catalog and schema go together"),
        ([("store.path", REMOVE), ("store.schema", "s")], "store: catalog and schema go together"),
        ([("source.path", REMOVE)], "source: format parquet takes path, not table"),
        ([("source.table", "t")], "source: format parquet takes path, not table"),
        ([("source.format", "table")], "source: format table takes table, not path"),
        ([("source.id_column", REMOVE)], "source: set id_column and at least one of text_columns"),
        ([("source.text_columns", [])], "source: set id_column and at least one of text_columns"),
        ([("source.text_columns", ["body", "Body"])], "source: text_columns names a column twice"),
        ([("source.payload_columns", ["a", "b", "a"])], "source: payload_columns names a column twice"),
        (
            [("chunking.method", "none"), ("chunking.min_tokens", 8)],
            "chunking: max_tokens and min_tokens go with method structure",
        ),
        (
            [("chunking.max_tokens", 100), ("chunking.min_tokens", 51)],
            "chunking: min_tokens is at most half of max_tokens",
        ),
    ],
)
def test_an_impossible_combination_is_refused(changes: list[tuple[str, Any]], fault: str) -> None:
    assert faults_of(*changes) == (fault,)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_device_is_auto_cpu_or_cuda(device: str) -> None:
    assert settings_with(("inference.device", device)).inference.device == device


def test_values_at_the_limits_are_accepted() -> None:
    settings = settings_with(
        ("chunking.max_tokens", 100),
        ("chunking.min_tokens", 50),
        ("chunking.rules", 1),
        ("inference.token_budget", 16),
        ("run.max_removed_fraction", 1),
        ("run.max_quarantined_fraction", 0),
        ("library", "a" * 64),
    )
    assert (settings.chunking.min_tokens, settings.inference.token_budget) == (50, 16)
    assert (settings.run.max_removed_fraction, settings.run.max_quarantined_fraction) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["a", "A1", "python-docs", "python_docs", "a-b_c-1"])
@pytest.mark.parametrize("key", ["library", "space"])
def test_plain_names_are_accepted(key: str, name: str) -> None:
    assert getattr(settings_with((key, name)), key) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a__b",
        "a--b",
        "_a",
        "a_",
        "-a",
        "a/b",
        "../a",
        "a.b",
        "..",
        ".",
        "a\\b",
        "a`b",
        "é",
        "a\n",
        "a" * 65,
    ],
)
@pytest.mark.parametrize("key", ["library", "space"])
def test_a_name_that_could_escape_its_folder_is_refused(key: str, name: str) -> None:
    assert [fault.partition(":")[0] for fault in faults_of((key, name))] == [key]


@pytest.mark.parametrize("key", ["spark.properties", "source.options"])
def test_options_become_the_text_that_spark_reads(key: str) -> None:
    section, option = key.split(".")
    settings = settings_with((key, {"header": True, "quote": False, "rows": 3, "share": 0.5, "sep": ";"}))
    assert getattr(getattr(settings, section), option) == {
        "header": "true",
        "quote": "false",
        "rows": "3",
        "share": "0.5",
        "sep": ";",
    }


@pytest.mark.parametrize("source_format", ["delta", "parquet"])
@pytest.mark.parametrize(
    "option",
    [
        "versionAsOf",
        "TIMESTAMPASOF",
        "startingVersion",
        "startingTimestamp",
        "endingversion",
        "endingTimestamp",
        "readChangeFeed",
        "readChangeData",
    ],
)
def test_an_option_that_chooses_a_version_of_the_source_is_refused(source_format: str, option: str) -> None:
    faults = faults_of(("source.format", source_format), ("source.options", {"header": True, option: 0}))
    assert faults == (
        f"source.options: {option} would choose a version of the source, but a run reads the newest one. Leave it out; "
        "to embed an older version, create a view of it and name the view as source.table.",
    )


@pytest.mark.parametrize("option", ["path", "PATHS"])
def test_an_option_that_names_a_second_location_is_refused(option: str) -> None:
    assert faults_of(("source.options", {option: "/elsewhere"})) == (
        f"source.options: {option} would name a second location. Use source.path or source.table alone.",
    )


def test_a_table_whose_name_cannot_be_split_is_refused() -> None:
    changes = [("source.path", REMOVE), ("source.format", "table"), ("source.table", "cat.`my.schema.t")]
    assert faults_of(*changes) == (
        "source.table: cat.`my.schema.t is not the name of a table. Write catalog.schema.table, and put a part that "
        "contains dots or other signs in backticks.",
    )


def test_relative_paths_become_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def store_path(path: str) -> str | None:
        return settings_with(("store.path", path)).store.path

    assert store_path("lake") == str(tmp_path / "lake")
    assert store_path("~/lake") == str(tmp_path / "home" / "lake")
    assert store_path("/lake") == "/lake"
    assert store_path("s3a://bucket/lake") == "s3a://bucket/lake"
    assert store_path("dbfs:/lake") == "dbfs:/lake"


def test_a_folder_of_files_has_columns_of_its_own() -> None:
    settings = settings_with(
        ("source.format", "files"), ("source.id_column", REMOVE), ("source.text_columns", REMOVE)
    ).source
    assert (settings.id_name, settings.text_names) == ("path", ["text"])


DOCUMENTS = (("source.format", "documents"), ("source.id_column", REMOVE), ("source.text_columns", REMOVE))


def test_a_folder_of_documents_has_columns_of_its_own() -> None:
    payload = ["path", "title", "author", "page_count", "mime_type", "language", "modified", "size", "metadata"]
    settings = settings_with(*DOCUMENTS, ("source.payload_columns", payload)).source
    assert (settings.id_name, settings.text_names, settings.table) == ("path", ["text"], None)
    assert settings_with(*DOCUMENTS, ("source.options", {"pathGlobFilter": "*.pdf"})).source.options


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("source.id_column", "id", "leave out id_column"),
        ("source.payload_columns", ["titel"], "has no column titel for payload, but path, title"),
        ("source.options", {"recursiveFileLookup": False}, "takes pathGlobFilter alone as an option"),
        ("source.parse_seconds", 0.5, "greater than or equal to 1"),
        ("source.parse_megabytes", 100, "greater than or equal to 256"),
        ("source.path", REMOVE, "takes path, not table"),
    ],
)
def test_settings_of_documents_that_mean_nothing_are_refused(key: str, value: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        settings_with(*(pair for pair in DOCUMENTS if pair[0] != key), (key, value))


# Overrides and environment


def test_an_override_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = SMALLEST_YAML + "space: from-file\ninference: {device: cpu, token_budget: 100}\n"
    environ = {"EMBEDLAKE_SPACE": "from-environment", "EMBEDLAKE_INFERENCE__TOKEN_BUDGET": "200"}
    assert loaded(tmp_path, text=text).space == "from-file"
    assert loaded(tmp_path, environ=environ, text=text).space == "from-environment"
    settings = loaded(tmp_path, ["space=from-override"], environ, text)
    assert settings.space == "from-override"
    assert (settings.inference.device, settings.inference.token_budget) == ("cpu", 200)


def test_the_last_of_two_overrides_wins(tmp_path: Path) -> None:
    assert loaded(tmp_path, ["space=a", "space=b"]).space == "b"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.dtype=float32", "float32"),
        ("model.normalize=true", True),
        ("model.dimensions=4", 4),
        ("run.max_removed_fraction=0.5", 0.5),
        ("source.text_columns=[title, body]", ["title", "body"]),
        ("source.text_columns=['a=b']", ["a=b"]),
        ("source.filter=null", None),
        ("source.filter=", None),
        ("source.filter=language = 'en'", "language = 'en'"),
        ("source.filter='a: b'", "a: b"),
        ("model={path: 'fake:4'}", "fake:4"),
        ("source.options.multiLine=true", "true"),
        ("source.options.a.b=1", "1"),
        ("spark.properties.spark.sql.shuffle.partitions=4", "4"),
    ],
)
def test_the_value_of_an_override_is_yaml(tmp_path: Path, override: str, expected: object) -> None:
    settings = loaded(tmp_path, [override])
    key = override.partition("=")[0]
    found: Any = settings.model_dump()
    for open_map in ("spark.properties.", "source.options."):
        if key.startswith(open_map):
            section, option, name = key.split(".", 2)
            assert found[section][option] == {name: expected}
            return
    for part in ["model", "path"] if key == "model" else key.split("."):
        found = found[part]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("given", "found", "columns"),
    [
        ("none", [], []),
        ("null", [], []),
        ("title", ["title"], ["title"]),
        ("headings", ["headings"], []),
        ("[title, headings, section]", ["title", "headings", "section"], ["title", "section"]),
    ],
)
def test_a_context_is_read_from_the_source(tmp_path: Path, given: str, found: list[str], columns: list[str]) -> None:
    settings = loaded(tmp_path, [f"chunking.context={given}"])
    assert (settings.chunking.context, settings.source.context_columns) == (found, columns)
    assert settings.source.named_columns[-len(columns) :] == columns or not columns


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("chunking.context=[title, Title]", "chunking.context: context names something twice"),
        ("chunking.context=7", "chunking.context: "),
        ("source.context=[title]", "source.context is no setting. Set chunking.context."),
    ],
)
def test_a_context_that_is_none_is_refused(tmp_path: Path, override: str, message: str) -> None:
    assert message in refusal(tmp_path, [override])


def test_an_override_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    text = SMALLEST_YAML + "spark: {properties: {spark.a: 1, spark.b: 2}}\n"
    settings = loaded(tmp_path, ["spark.properties.spark.b=3"], text=text)
    assert settings.spark.properties == {"spark.a": "1", "spark.b": "3"}


def test_an_override_fills_a_group_that_the_file_leaves_empty(tmp_path: Path) -> None:
    assert loaded(tmp_path, ["run.slice_tokens=7"], text=SMALLEST_YAML + "run:\n").run.slice_tokens == 7


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("space", "--set space is not a setting. Write key=value, such as model.dtype=float32."),
        ("=main", "--set =main is not a setting. Write key=value, such as model.dtype=float32."),
        ("", "Write key=value"),
        ("library.name=x", "--set library.name: library is a value, not a group of settings"),
        ("source.text_columns.0=x", "--set source.text_columns.0: text_columns is a value, not a group of settings"),
        ("model.dtyp=float32", "model.dtyp is not a setting. Did you mean dtype?"),
        ("model..dtype=float32", "model. is not a setting"),
        ("model.path=[", "--set model.path cannot be parsed"),
        ("model.path=!!python/name:os.system", "--set model.path cannot be parsed"),
        ("run.slice_tokens=many", "run.slice_tokens: should be a valid integer, not 'many'"),
    ],
)
def test_an_invalid_override_is_refused(tmp_path: Path, override: str, words: str) -> None:
    assert words in refusal(tmp_path, [override])


def test_the_environment_sets_the_keys_it_names(tmp_path: Path) -> None:
    environ = {"EMBEDLAKE_MODEL__DTYPE": "float16", "EMBEDLAKE_SOURCE__TEXT_COLUMNS": "[a, b]", "PATH": "/bin"}
    settings = loaded(tmp_path, environ=environ)
    assert (settings.model.dtype, settings.source.text_columns) == ("float16", ["a", "b"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EMBEDLAKE_MODEL__DTYP", "float32", "model.dtyp is not a setting. Did you mean dtype?"),
        ("EMBEDLAKE_TOKEN", "x", "token is not a setting"),
        ("EMBEDLAKE_", "x", " is not a setting"),
        ("EMBEDLAKE_LIBRARY__NAME", "x", "environment variable EMBEDLAKE_LIBRARY__NAME: library is a value"),
        ("EMBEDLAKE_SPACE", "{", "environment variable EMBEDLAKE_SPACE cannot be parsed"),
    ],
)
def test_an_invalid_environment_variable_is_refused(tmp_path: Path, name: str, value: str, words: str) -> None:
    assert words in refusal(tmp_path, environ={name: value})


def test_the_process_s_own_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEST_MODEL_FOLDER", "TEST_DATA_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMBEDLAKE_SPACE", "from-environment")
    path = tmp_path / "settings.yaml"
    path.write_text(SMALLEST_YAML)
    assert load_settings(path).space == "from-environment"


# Files that are broken or hostile


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("library: a\nlibrary: b\n", "line 2: key library appears twice", id="repeated key"),
        pytest.param("model:\n  path: a\n  path: b\n", "line 3: key path appears twice", id="repeated key within"),
        pytest.param("model: {path: a, 'path': b}\n", "line 1: key path appears twice", id="repeated key, quoted"),
        pytest.param("a: &x [1]\nb: *x\n", "aliases (*name) are not supported", id="alias"),
        pytest.param("a: &x {b: 1}\nc:\n  <<: *x\n", "cannot be parsed", id="merge of an alias"),
        pytest.param("c:\n  <<: {b: 1}\n", "cannot be parsed", id="merge"),
        pytest.param("a: &x [*x]\n", "aliases (*name) are not supported", id="a list in itself"),
        pytest.param("a: !!python/object/apply:os.system ['true']\n", "could not determine", id="call"),
        pytest.param("a: !!python/name:os.system\n", "could not determine", id="name"),
        pytest.param("a: !!python/object/new:os.system ['true']\n", "could not determine", id="object"),
        pytest.param("a: !custom x\n", "could not determine a constructor", id="tag of somebody's own"),
        pytest.param("a: !!bool perhaps\n", "a value does not match its tag", id="not a bool"),
        pytest.param("a: !!int ''\n", "a value does not match its tag", id="not an int"),
        pytest.param("a: !!float ''\n", "a value does not match its tag", id="not a float"),
        pytest.param("a: !!timestamp soon\n", "a value does not match its tag", id="not a timestamp"),
        pytest.param("a: !!map [b]\n", "a value does not match its tag", id="not a map"),
        pytest.param("a: 2020-13-45\n", "month must be in 1..12", id="not a date"),
        pytest.param(f"a: {'9' * 5000}\n", "Exceeds the limit", id="endless number"),
        pytest.param("[" * 20_000, "nested too deeply", id="brackets"),
        pytest.param("{a: " * 5000, "nested too deeply", id="braces"),
        pytest.param("- " * 5000, "nested too deeply", id="dashes"),
        pytest.param("1: a\n", "line 1: key 1 is not text", id="number as key"),
        pytest.param("a: {true: b}\n", "line 1: key True is not text", id="boolean as key"),
        pytest.param("null: a\n", "line 1: key None is not text", id="null as key"),
        pytest.param("? [a]\n: b\n", "line 1: key ['a'] is not text", id="list as key"),
        pytest.param("a: [b\n", "cannot be parsed", id="unclosed list"),
        pytest.param("a: b\n---\nc: d\n", "expected a single document", id="two documents"),
        pytest.param("a: \x00\n", "special characters are not allowed", id="NUL"),
        pytest.param("", "contains no settings. Expected `library:`", id="empty"),
        pytest.param("# only a comment\n", "contains no settings", id="comment"),
        pytest.param("- library\n", "contains no settings", id="list"),
        pytest.param("library\n", "contains no settings", id="text"),
        pytest.param("null\n", "contains no settings", id="null"),
        pytest.param("a" * (1 << 20) + "b", "is larger than 1 MiB. Is it the right file?", id="over 1 MiB"),
    ],
)
def test_a_file_that_is_not_plain_settings_is_refused(tmp_path: Path, text: str, words: str) -> None:
    message = refusal(tmp_path, text=text)
    assert words in message
    assert "settings.yaml" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: 1\nb: [hunter2\nc: 3\n",
            "line 3, column 2: while parsing a flow sequence, expected ',' or ']', but got ':'",
        ),
        ("a: !hunter2 x\n", "line 1, column 4: could not determine a constructor for the tag ..."),
        ('a: "hunter2\n', "line 2, column 1: while scanning a quoted scalar, found unexpected end of stream"),
        ("a: !!float hunter2\n", "could not convert string to float: ..."),
        ("spark: {properties: [hunter2]}\n", "spark.properties: should be a valid dictionary"),
        ("source: {options: password=hunter2}\n", "source.options: should be a valid dictionary"),
        ("source: {options: {password: [hunter2]}}\n", "source.options.password: should be a valid string"),
        ("store: s3a://key:hunter2@bucket\n", "store: should be a valid dictionary or instance of StoreSettings"),
        (
            "store: {path: s3a://key:hunter2@bucket/lake}\n",
            "store.path: contains a user and a password. Leave them out, and set them in Spark's properties.",
        ),
    ],
)
def test_no_message_repeats_a_password(tmp_path: Path, text: str, told: str) -> None:
    message = refusal(tmp_path, text=text)
    assert told in message
    assert "hunter2" not in message


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "aliases (*name) are not supported" in refusal(tmp_path, text="\n".join(lines))


def test_a_file_of_just_under_1_mib_is_read(tmp_path: Path) -> None:
    comment = "#" * ((1 << 20) - len(SMALLEST_YAML) - 1) + "\n"
    assert loaded(tmp_path, text=comment + SMALLEST_YAML).library == "handbook"


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert loaded(tmp_path, text="\ufeff" + SMALLEST_YAML).library == "handbook"


@pytest.mark.parametrize("content", [b"library: caf\xe9\n", SMALLEST_YAML.encode("utf-16"), b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"settings\.yaml cannot be read: it is not UTF-8 text"):
        load_settings(path, environ={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml cannot be read: No such file"):
        load_settings(tmp_path / "missing.yaml", environ={})


def test_a_folder_instead_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, environ={})


# Several spaces


SPACES = """
spaces:
  - main
  - name: next
    model: {path: "fake:16"}
    chunking: {max_tokens: 128}
model: {path: "fake:8", dtype: float32}
chunking: {min_tokens: 20}
"""
SMALLEST_WITHOUT_MODEL = yaml.safe_dump({key: value for key, value in SMALLEST.items() if key != "model"})


def loaded_spaces(folder: Path, text: str = SPACES, overrides: list[str] | None = None) -> list[Settings]:
    path = folder / "settings.yaml"
    path.write_text(SMALLEST_WITHOUT_MODEL + text)
    return load_spaces(path, overrides, {})


def test_each_space_has_what_the_rest_of_the_settings_says_and_what_its_entry_changes(tmp_path: Path) -> None:
    found = {each.space: (each.model, each.chunking, each.spaces) for each in loaded_spaces(tmp_path)}
    assert list(found) == ["main", "next"]
    (main, plain, _), (other, cut, _) = found.values()
    assert (main.path, main.dtype, plain.max_tokens, plain.min_tokens) == ("fake:8", "float32", None, 20)
    assert (other.path, other.dtype, cut.max_tokens, cut.min_tokens) == ("fake:16", "float32", 128, 20)
    assert not any(spaces for *_, spaces in found.values())


def test_other_commands_mean_the_first_space_or_the_one_that_is_chosen(tmp_path: Path) -> None:
    assert [each.space for each in loaded_spaces(tmp_path, overrides=["space=next"])] == ["next"]
    file = tmp_path / "settings.yaml"
    assert load_settings(file, environ={}).model.path == "fake:8"
    assert load_settings(file, ["space=next"], {}).model.path == "fake:16"
    assert load_settings(file, environ={"EMBEDLAKE_SPACE": "next"}).model.path == "fake:16"


def test_each_space_may_have_a_model_of_its_own(tmp_path: Path) -> None:
    text = """
spaces: [{name: a, model: {path: "fake:8"}}, {name: b, model: {path: "fake:16"}}]
"""
    assert [each.model.path for each in loaded_spaces(tmp_path, text)] == ["fake:8", "fake:16"]


@pytest.mark.parametrize(
    ("text", "overrides", "faults"),
    [
        (
            "spaces: [main, next, Main]",
            [],
            [
                "spaces: main and Main are the same name, or would be where a store ignores case. Give each space a "
                "name of its own."
            ],
        ),
        (
            "spaces: [{name: next, modle: {}}, {model: {}}, a b, 3]\nrun: {slice_rows: 0}",
            [],
            [
                "spaces.0.modle is not a setting. Did you mean model?",
                "spaces.1.name is missing. Add it to the settings file.",
                "spaces.2.name: String should match pattern '^[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*$', not 'a b'",
                "spaces.3: is neither a name nor a group of settings. Write a name, or name: and what differs.",
                "run.slice_rows: should be greater than or equal to 1, not 0",
            ],
        ),
        (
            "spaces: [main, {name: next, model: {pth: x}, chunking: {method: none, max_tokens: 20}}]",
            [],
            [
                "space next: chunking: max_tokens and min_tokens go with method structure",
                "space next: model.pth is not a setting. Did you mean path?",
            ],
        ),
        (
            "spaces: [main, next]",
            ["space=Main"],
            ["space Main is not one of spaces (main, next). Name one of them, or add it to spaces."],
        ),
        ("spaces: main", [], ["spaces: should be a valid list, not 'main'"]),
    ],
)
def test_faults_of_spaces_are_reported_at_once(
    tmp_path: Path, text: str, overrides: list[str], faults: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        loaded_spaces(tmp_path, f'model: {{path: "fake:8"}}\n{text}\n', overrides)
    assert list(caught.value.faults) == faults


def test_a_space_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        loaded_spaces(tmp_path, 'spaces: [{name: a, model: {path: "fake:8"}}, b]\n')
    assert caught.value.faults == ("space b: model is missing. Add it to the settings file.",)


def test_a_file_has_either_space_or_spaces(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        loaded_spaces(tmp_path, f"space: main\n{SPACES}")
    assert caught.value.faults == (
        f"settings file {tmp_path}/settings.yaml has both space and spaces. Remove space; --set space=NAME chooses one "
        "of spaces for a command.",
    )


# The settings that the repository ships

# Keys of the example that show a value instead of a default, and keys it only mentions in comments.
SHOWN = {
    "library",
    "store.path",
    "source.format",
    "source.path",
    "source.id_column",
    "source.text_columns",
    "source.payload_columns",
    "model.path",
    "model.revision",
}
MENTIONED = {"store.catalog", "store.schema", "source.table"}


def defaults(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if field.exclude:
            # Follows from another setting.
            continue
        key = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from defaults(field.annotation, f"{key}.")
        else:
            yield key, field.default


@pytest.mark.parametrize("path", sorted(ROOT.joinpath("conf").glob("*.yaml")), ids=lambda path: path.name)
def test_every_settings_file_of_the_repository_loads(path: Path) -> None:
    assert load_settings(path, environ={}).library


def test_off_is_a_word_although_yaml_reads_it_as_a_boolean(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    example = (ROOT / "conf" / "example.yaml").read_text(encoding="utf-8")
    file.write_text(example, encoding="utf-8")
    found = load_settings(file, ["inference.cache=off", "inference.resource_profile=off"], {}).inference
    assert (found.cache, found.resource_profile) == ("off", "off")
    for path in ("/var/cache/models", "~/models"):
        assert load_settings(file, [f"inference.cache={path}"], {}).inference.cache == path


def test_the_example_shows_every_setting_with_its_default() -> None:
    text = ROOT.joinpath("conf", "example.yaml").read_text(encoding="utf-8")
    example = yaml.safe_load(text)
    for key, default in defaults(Settings):
        section, _, name = key.rpartition(".")
        group = example[section] if section else example
        if key in MENTIONED:
            assert name not in group
            assert f"{name}: " in text, key
        else:
            assert name in group, f"{key} is not in the example"
            assert key in SHOWN or group[name] == default, key
