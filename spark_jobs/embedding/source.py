"""The source: the only module that knows source formats. It pins a version and checks columns and ids."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, IntegralType, MapType, NullType, StringType, StructField, StructType

from schemas.errors import InputError, SourceError
from schemas.table import clashing, name_parts, quoted
from schemas.vectors import vectors_table
from spark_jobs.embedding.json_types import with_known_types
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.sections import SourceSettings

# Delta's own rule for column names without column mapping; a backtick breaks its change feed.
_BAD_CHARACTERS = " ,;{}()\n\t=`"
# A filter means something else if they change: literals of times, failing casts, and names of columns.
_FILTER_PROPERTIES = ("spark.sql.session.timeZone", "spark.sql.ansi.enabled", "spark.sql.caseSensitive")
_RESERVED = {"_change_type", "_commit_version", "_commit_timestamp", "_operation", "_payload_changed"}


@dataclass(frozen=True)
class Source:
    """A source as one run sees it.

    Attributes:
        rows: Its rows, filtered; at one version if it has versions.
        version: That version; None if it has none.
        payload: Fields of the payload columns.
        table_id: Delta's id of the table, or None; a different table under the same name would have its own id.
        commit: Digest of the commit that made the version, or None. A table that was put back from a copy has the same
            id, and uses the numbers of its versions again.
        has_feed: Whether the table's change feed is on.
        absent: Payload columns that no row has a value of, and that have the space's types for that reason.
        rule: Hash of what decides how rows become documents: settings, column types and, with a filter, how the session
            reads it.
    """

    rows: DataFrame
    version: int | None
    payload: tuple[StructField, ...]
    table_id: str | None
    commit: str | None
    has_feed: bool
    rule: str
    absent: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What a person should know of the source before its rows are taken; mostly empty."""
        columns = ", ".join(self.absent)
        return f"no document has a value of payload column {columns}, which becomes null everywhere" if columns else ""


def open_source(
    spark: SparkSession, source: SourceSettings, known: Callable[[], Mapping[str, DataType]] = dict
) -> Source:
    """Pins a source and checks that it has the columns that the settings name.

    Args:
        spark: The live session.
        source: Where it is, and what its columns mean.
        known: Finds the types of the space's columns by name; asked for JSON alone, whose files have no types.

    Returns:
        The source.

    Raises:
        InputError: It cannot be read; a SourceError if columns are missing, have the wrong type or clash.
    """
    location = source.table or source.path
    try:
        detail = _delta_detail(spark, source)
        newest = _commits(spark, source, 1)[0] if detail is not None else None
        version = int(newest.version) if newest is not None else None
        rows = _rows(spark, source, version)
        absent: tuple[str, ...] = ()
        if source.format == "json" and source.payload_columns:
            rows, absent = with_known_types(spark, source, rows, known())
        if source.filter is not None:
            rows = rows.where(F.expr(source.filter))
        schema = rows.schema
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        cause = cause_of(error)
        raise InputError(f"the source {location} cannot be read as {source.format}: {cause}") from error
    fields = {field.name: field for field in schema}
    faults = column_faults(source, fields)
    if faults:
        raise SourceError(f"the source {location}: {fault}" for fault in faults)
    return Source(
        rows=rows,
        version=version,
        payload=tuple(StructField(n, fields[n].dataType) for n in source.payload_columns),
        table_id=detail.id if detail is not None else None,
        commit=_commit_digest(newest) if newest is not None else None,
        has_feed=detail is not None and detail.properties.get("delta.enableChangeDataFeed") == "true",
        rule=_rule(spark, source, [fields[n] for n in (source.id_name, *source.text_names, *source.payload_columns)]),
        absent=absent,
    )


def check_ids(source: Source, settings: SourceSettings) -> int:
    """Checks that ids identify documents, because MERGE would insert a null or repeated id again in every run.

    Args:
        source: The opened source.
        settings: Its settings.

    Returns:
        Number of documents, which may be 0.

    Raises:
        InputError: Ids are null, repeated or not UTF-8.
    """
    ids = source.rows.select(F.col(quoted(settings.id_name)).cast("string").alias("id"))
    groups = ids.groupBy("id").agg(F.count(F.lit(1)).alias("n"))
    repeated = F.col("id").isNotNull() & (F.col("n") > 1)
    try:
        total, nulls, invalid, repeats = groups.agg(
            F.coalesce(F.sum("n"), F.lit(0)),
            F.coalesce(F.sum(F.when(F.col("id").isNull(), F.col("n"))), F.lit(0)),
            F.count_if(~F.is_valid_utf8("id")),
            F.count_if(repeated),
        ).collect()[0]
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        raise InputError(f"reading the source failed part-way: {cause_of(error)}") from error
    name = f"source.id_column {settings.id_name}"
    faults = []
    if nulls:
        faults.append(
            f"{name} is null in {nulls} rows. Give every document an id, or exclude these rows by source.filter."
        )
    if invalid:
        faults.append(f"{name} is not valid UTF-8 in {invalid} rows. Fix these ids.")
    if repeats:
        examples = [row.id[:80] for row in groups.where(repeated).orderBy("id").limit(5).collect()]
        faults.append(f"{name}: {repeats} ids occur in more than one row, such as {examples!r}. Make ids unique.")
    if faults:
        raise InputError(faults)
    return int(total)


def _quoted_name(source: SourceSettings) -> str:
    if source.format == "delta":
        return f"delta.{quoted(source.path or '')}"
    return ".".join(quoted(part) for part in name_parts(source.table or ""))


def _delta_detail(spark: SparkSession, source: SourceSettings) -> Row | None:
    if source.format not in ("delta", "table"):
        return None
    try:
        detail = spark.sql(f"DESCRIBE DETAIL {_quoted_name(source)}").select("format", "id", "properties").collect()
    except PySparkException:
        if source.format == "delta" or _is_delta_table(spark, source):
            raise
        return None  # a view has no detail, and no version either
    return detail[0] if detail and detail[0].format == "delta" else None


def _is_delta_table(spark: SparkSession, source: SourceSettings) -> bool:
    rows = spark.sql(f"DESCRIBE TABLE EXTENDED {_quoted_name(source)}").where("col_name = 'Provider'").collect()
    return any(row.data_type.lower() == "delta" for row in rows)


def _commits(spark: SparkSession, source: SourceSettings, number: int) -> list[Row]:
    """Reads the newest commits of a Delta source from its log, the newest first."""
    history = spark.sql(f"DESCRIBE HISTORY {_quoted_name(source)} LIMIT {number}")
    return history.select("version", "timestamp", "operation", "operationMetrics", "engineInfo").collect()


def _commit_digest(commit: Row) -> str:
    metrics = sorted((commit.operationMetrics or {}).items())
    text = json.dumps([str(commit.timestamp), commit.operation, metrics, commit.engineInfo])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit_of(spark: SparkSession, settings: SourceSettings, source: Source, version: int) -> str | None:
    """Finds the digest of the commit that made an earlier version of a source; None if its log has it no more."""
    if source.version is None or version == source.version:
        return source.commit
    # One line of the log each, of the versions since then only.
    commits = _commits(spark, settings, source.version - version + 1)
    return next((_commit_digest(commit) for commit in commits if commit.version == version), None)


def _rule(spark: SparkSession, source: SourceSettings, fields: list[StructField]) -> str:
    # The excluded settings say where the rows are, not how they become documents; table_id covers the location.
    settings = source.model_dump(mode="json", exclude={"track", "path", "table", "format"})
    parts: list[object] = [settings, [[field.name, field.dataType.simpleString()] for field in fields]]
    if source.filter is not None:
        parts.append({key: spark.conf.get(key, None) for key in _FILTER_PROPERTIES})
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(spark: SparkSession, source: SourceSettings, version: int | None) -> DataFrame:
    if source.format == "files":
        return _files(spark, source)
    reader = spark.read.options(**source.options)
    if version is not None:
        reader = reader.option("versionAsOf", version)
    if source.format == "table":
        return reader.table(source.table or "")
    if source.format == "csv":
        # Settings name columns, so a header is the default; `source.options` may turn it off.
        reader = spark.read.options(**{"header": "true", **source.options})
    return reader.format(source.format).load(source.path)


def _files(spark: SparkSession, source: SourceSettings) -> DataFrame:
    options = {"recursiveFileLookup": "true", **source.options}
    files = spark.read.format("binaryFile").options(**options).load(source.path)
    root = (source.path or "").split("://", 1)[-1].split(":", 1)[-1].rstrip("/") + "/"
    start = F.locate(root, F.col("path")) + len(root)
    return files.select(
        F.expr("path").substr(start, F.length("path")).alias("path"),
        # Raw bytes: `as_documents` checks whether they are UTF-8.
        F.col("content").cast("string").alias("text"),
        F.col("length").alias("size"),
        F.col("modificationTime").alias("modified"),
    )


def column_faults(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    """Describes what is wrong with a source's columns, given by name; one fault each."""
    return _missing(source, list(fields)) or [
        *_wrong_types(source, fields),
        *_clashes(source),
        *_bad_fields(source, fields),
    ]


def _missing(source: SourceSettings, names: list[str]) -> list[str]:
    if not names:
        return ["it has no columns. Check that it is not empty and that source.format is right."]
    expected = [
        ("id_column", source.id_name),
        *(("text_columns", name) for name in source.text_names),
        *(("payload_columns", name) for name in source.payload_columns),
    ]
    return [
        f"it has no column {name!r}, which source.{key} names. Its columns are {', '.join(map(repr, names))}."
        for key, name in expected
        if name not in names
    ]


def _wrong_types(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    id_field = fields[source.id_name]
    faults = []
    if not isinstance(id_field.dataType, StringType | IntegralType):
        faults.append(
            f"id column {id_field.name!r} is {id_field.dataType.simpleString()}, but ids are strings or whole "
            "numbers. Cast it in a view."
        )
    faults += [
        f"text column {name!r} is {fields[name].dataType.simpleString()}, not string. Cast it in a view."
        for name in source.text_names
        if not isinstance(fields[name].dataType, StringType)
    ]
    return faults + [
        f"payload column {name!r} has no type (only nulls). Leave it out, or cast it in a view."
        for name in source.payload_columns
        if isinstance(fields[name].dataType, NullType)
    ]


def _clashes(source: SourceSettings) -> list[str]:
    names = source.payload_columns
    clashes = {*clashing(names, vectors_table().schema.fields), *(n for n in names if n.lower() in _RESERVED)}
    faults = [
        f"payload column {name!r} clashes with a column of vectors. Rename it in a view." for name in sorted(clashes)
    ]
    return faults + [
        f"payload column {name!r} has a character that Delta does not accept in names (one of {_BAD_CHARACTERS!r}). "
        "Rename it in a view."
        for name in names
        if set(name) & set(_BAD_CHARACTERS)
    ]


def _bad_fields(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    below = [found for name in source.payload_columns for found in _below(fields[name].dataType, (name,))]
    bad = [path for path, _ in below if set(path[-1]) & set(_BAD_CHARACTERS)]
    # Without a type of their own these columns are named above.
    untyped = [path for path, kind in below if isinstance(kind, NullType)]
    return [
        f"payload column {path[0]!r} has the field {'.'.join(path)!r}, whose name has a character that Delta does not "
        f"accept in names (one of {_BAD_CHARACTERS!r}). Rename it in a view."
        for path in bad
    ] + [
        f"payload column {path[0]!r} has the field {'.'.join(path)!r} without a type (only nulls). Leave it out, or "
        "cast it in a view."
        for path in untyped
    ]


def _below(kind: DataType, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], DataType]]:
    """Lists the paths and types of everything inside a type, however deep: fields, elements, keys and values."""
    if isinstance(kind, StructType):
        inside = [((*path, field.name), field.dataType) for field in kind]
    elif isinstance(kind, ArrayType):
        inside = [((*path, "element"), kind.elementType)]
    elif isinstance(kind, MapType):
        inside = [((*path, "key"), kind.keyType), ((*path, "value"), kind.valueType)]
    else:
        return []
    return inside + [found for each in inside for found in _below(each[1], each[0])]
