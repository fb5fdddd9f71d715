"""The source: the only module that knows source formats. It pins a version and checks columns and ids."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructField

from schemas.errors import InputError, SourceError
from schemas.table import name_parts, quoted
from spark_jobs.runtime.properties import read_property
from spark_jobs.runtime.spark_errors import cause_of, is_connection_lost, unreadable
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.columns import column_faults
from spark_jobs.sources.csv_rows import csv_fault
from spark_jobs.sources.faulty_rows import FAULT_COLUMN, describe_faults, is_faulty
from spark_jobs.sources.files import root_of
from spark_jobs.sources.local_folder import list_folder
from spark_jobs.sources.location import as_is, load_path, local_path, survey
from spark_jobs.sources.refusals import REFUSED_COLUMN
from spark_jobs.sources.rows import read_rows

# A filter means something else if they change: literals of times, failing casts, and names of columns.
_FILTER_PROPERTIES = ("spark.sql.session.timeZone", "spark.sql.ansi.enabled", "spark.sql.caseSensitive")


@dataclass(frozen=True)
class Source:
    """A source as one run sees it.

    Attributes:
        rows: Its rows, filtered; at one version if it has versions.
        version: That version; None if it has none.
        payload: Fields of the columns that reach the chunks beside the text; `carried_columns` of the settings.
        table_id: Delta's id of the table, or None; a different table under the same name would have its own id.
        commit: Digest of the commit that made the version, or None. A table that was put back from a copy has the same
            id, and uses the numbers of its versions again.
        has_feed: Whether the table's change feed is on.
        rule: Hash of what decides how rows become documents: settings, column types and, with a filter, how the session
            reads it.
        notes: What the plan line says of what was left out or is not there.
        opened_at: When it was pinned, in seconds since 1970.
    """

    rows: DataFrame
    version: int | None
    payload: tuple[StructField, ...]
    table_id: str | None
    commit: str | None
    has_feed: bool
    rule: str
    notes: tuple[str, ...] = ()
    opened_at: float = 0.0


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
    location, opened_at = source.path or source.table, time.time()
    notes = survey(spark, source)
    try:
        detail = _delta_detail(spark, source)
        newest = _commits(spark, source, 1)[0] if detail is not None else None
        version = int(newest.version) if newest is not None else None
        rows, absent = read_rows(spark, source, version, known)
        fields = {field.name: field for field in rows.schema if field.name not in (REFUSED_COLUMN, FAULT_COLUMN)}
    except InputError as error:
        raise InputError(f"the source {location}: {fault}" for fault in error.faults) from error
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        raise _unreadable(source, error) from error
    # Before the filter: of one that names an unknown column, Spark tells all columns, which may be a CSV's first row.
    faults = column_faults(source, fields)
    if faults:
        raise SourceError(f"the source {location}: {fault}" for fault in faults)
    try:
        if source.filter is not None:
            # What is no document stays, because a filter on values in the wrong column would hide it.
            rows = rows.where(is_faulty(rows) | F.expr(source.filter))
        rows.schema  # noqa: B018  # Connect analyzes an expression only when a result is needed
    except Exception as error:  # raised by the parser, the analyzer or Connect
        raise _unreadable(source, error) from error
    return Source(
        rows=rows,
        version=version,
        payload=tuple(StructField(n, fields[n].dataType) for n in source.carried_columns),
        table_id=detail.id if detail is not None else None,
        commit=_commit_digest(newest) if newest is not None else None,
        has_feed=detail is not None and detail.properties.get("delta.enableChangeDataFeed") == "true",
        rule=_rule(spark, source, [fields[name] for name in source.named_columns]),
        notes=(*notes, *_absence(absent)),
        opened_at=opened_at,
    )


def _absence(columns: tuple[str, ...]) -> list[str]:
    names = ", ".join(columns)
    return [f"no document has a value of payload column {names}, which becomes null everywhere"] if columns else []


def _unreadable(source: SourceSettings, error: Exception, otherwise: InputError | None = None) -> Exception:
    if is_connection_lost(error):
        return error
    location = source.path or source.table
    fault = csv_fault(error) if source.format == "csv" else None
    if fault is not None:
        return InputError(f"the source {location}: {fault}")
    return otherwise or InputError(f"the source {location} cannot be read as {source.format}: {cause_of(error)}")


def check_ids(source: Source, settings: SourceSettings) -> int:
    """Checks that ids identify documents, because MERGE would insert a null or repeated id again in every run.

    Args:
        source: The opened source.
        settings: Its settings.

    Returns:
        Number of documents, which may be 0.

    Raises:
        InputError: Ids are null, repeated or not UTF-8, or rows are no documents because their file is broken.
    """
    faulty = is_faulty(source.rows)
    ids = source.rows.select(
        F.when(~faulty, F.col(quoted(settings.id_name)).cast("string")).alias("id"), faulty.alias("is_faulty")
    )
    groups = ids.groupBy("id", "is_faulty").agg(F.count(F.lit(1)).alias("n"))
    repeated = F.col("id").isNotNull() & (F.col("n") > 1)
    try:
        total, broken, nulls, invalid, repeats = groups.agg(
            F.coalesce(F.sum("n"), F.lit(0)),
            F.count_if("is_faulty"),
            F.coalesce(F.sum(F.when(F.col("id").isNull() & ~F.col("is_faulty"), F.col("n"))), F.lit(0)),
            F.count_if(~F.is_valid_utf8("id")),
            F.count_if(repeated),
        ).collect()[0]
        faults = describe_faults(source.rows, settings.id_name) if broken else []
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        raise _unreadable(settings, error, unreadable("the source", error)) from error
    name = f"source.id_column {settings.id_name}"
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
    if not source.is_table or (source.is_parsed and source.table is None):
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


def source_state(spark: SparkSession, source: SourceSettings) -> str | None:
    """Tells in what state a source is, without reading its files: its newest version, or which files it consists of.

    Args:
        spark: The live session.
        source: Where it is.

    Returns:
        A text that is another one once rows of the source may have changed. None if the source does not tell: a view,
        or a table of a catalog that is not one of Delta.

    Raises:
        InputError: It cannot be found.
    """
    try:
        if source.is_parsed or not source.is_table:
            return _state_of_files(spark, source)
        newest = _commits(spark, source, 1)[0]
        return f"{newest.version} {_commit_digest(newest)}"
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        try:
            if source.format == "table" and _delta_detail(spark, source) is None:
                return None
        except Exception as another:
            raise _unreadable(source, another) from another
        raise _unreadable(source, error) from error


def _state_of_files(spark: SparkSession, source: SourceSettings) -> str:
    path = source.path or ""
    local = local_path(path)
    if local is not None:
        return list_folder(local).state
    path = as_is(root_of(path)) if source.format in ("files", "documents") else load_path(path)
    # Only the content would be read, and it is not asked for. Nothing but sums comes to the driver.
    options = {**source.options, "recursiveFileLookup": "true"}
    files = spark.read.format("binaryFile").options(**options).load(path)
    each = F.xxhash64("path", "length", "modificationTime")
    sums = files.agg(F.count(F.lit(1)), F.sum("length"), F.bit_xor(each)).collect()[0]
    return " ".join(map(str, sums))


def _rule(spark: SparkSession, source: SourceSettings, fields: list[StructField]) -> str:
    # The excluded settings say where the rows are, not how they become documents; table_id covers the location, and of
    # files that are parsed, each row covers its parser.
    left_out = {"track", "path", "table", "format", "parse_seconds", "parse_megabytes"}
    settings = source.model_dump(mode="json", exclude=left_out)
    parts: list[object] = [settings, [[field.name, field.dataType.simpleString()] for field in fields]]
    if source.filter is not None:
        parts.append({key: read_property(spark, key) for key in _FILTER_PROPERTIES})
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
