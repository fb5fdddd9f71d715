"""CSV as a source, read as RFC 4180 has it: nothing shifts to another column, and no byte is replaced."""

import re

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from schemas.errors import InputError
from schemas.reasons import INVALID_UTF8, MAX_BYTES
from schemas.table import quoted
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.charsets import LATIN_1, UTF_8, charset_of, from_one_character_per_byte, one_character_per_byte
from spark_jobs.sources.faulty_rows import FIELDS, FILE, ID, row_fault
from spark_jobs.sources.location import as_written, load_path
from spark_jobs.sources.refusals import REFUSED_COLUMN, refusal

_RFC_4180 = {
    "header": "true",
    "multiline": "true",
    "quote": '"',
    # Each file's header is compared with the first one's, for which all columns must be parsed.
    "enforceschema": "false",
    "columnpruning": "false",
    "unescapedquotehandling": "RAISE_ERROR",
}
# Options whose values are compared with the content of files.
_OF_CONTENT = ("sep", "delimiter", "quote", "escape", "comment", "nullvalue", "emptyvalue", "linesep")
# Options that mean something else to the reader of plain lines.
_NOT_OF_LINES = ("encoding", "charset", "linesep", "mode")
_BROKEN = "_broken_record"
_MARK = one_character_per_byte("\ufeff")
_REPLACEMENT = "\ufffd"
_FILE_OF_ERROR = re.compile(r"reading file (\S.*?)\.\s+SQLSTATE")
_LINE_OF_ERROR = re.compile(r"Internal state when error was thrown: line=(\d+)")


def read_csv(spark: SparkSession, source: SourceSettings) -> DataFrame:
    """Reads CSV files with a header each.

    Args:
        spark: A live session.
        source: The source's settings; its options win over RFC 4180, and with a `mode` rows are Spark's own affair.

    Returns:
        Columns of the header and of folder names, `REFUSED_COLUMN` and `FAULT_COLUMN`.

    Raises:
        InputError: The header is ambiguous, or a quotation mark is never closed.
    """
    path = load_path(source.path or "")
    options, charset = reader_options(source)
    # A fault in a later row must not keep Spark from finding the columns: then it does not name the file.
    of_header = {**options, "header": "false", "unescapedquotehandling": "STOP_AT_DELIMITER"}
    cells = spark.read.format("csv").options(**of_header).load(path)
    width = sum(name == f"_c{index}" for index, name in enumerate(cells.columns))
    first = cells.first() if width else None
    if first is None:
        return cells
    has_header = options["header"].lower() == "true"
    header = [first[index] or "" for index in range(width)] if has_header else cells.columns[:width]
    names = column_names(header, charset)
    folders = cells.schema.fields[width:]
    if _is_ambiguous(cells, header, [field.name for field in folders]):
        options["enforceschema"] = "true"
    if options["enforceschema"].lower() == "true":
        header = names
    schema = [StructField(name, StringType()) for name in (*header, _BROKEN)]
    schema += as_written(folders, source.named_columns)
    read = spark.read.format("csv").options(**options).schema(StructType(schema)).load(path)
    # By position, because a name of the header may be empty.
    by_position = read.toDF(*[f"_{index}" for index in range(width)], _BROKEN, *[field.name for field in folders])
    if charset in (UTF_8, LATIN_1) and "mode" not in options:
        _check_closed(spark, path, options, by_position, f"_{width - 1}")
    values = {name: F.col(f"_{index}") for index, name in enumerate(names)}
    if not has_header and charset == UTF_8:
        values[names[0]] = F.regexp_replace(values[names[0]], f"^{_MARK}", "")
    if charset == UTF_8:
        values = {name: F.encode(value, LATIN_1).cast("string") for name, value in values.items()}
    return by_position.select(
        *[value.alias(name) for name, value in values.items()],
        *[F.col(quoted(field.name)) for field in folders],
        *_flags(source, values, charset, is_checked="mode" not in options),
    )


def reader_options(source: SourceSettings) -> tuple[dict[str, str], str]:
    """Completes the options of Spark's reader, with names in lower case, and finds the encoding of the files.

    Files in UTF-8 are read as Latin-1, a character for each byte, because Spark would replace bytes that are not UTF-8.
    """
    given = {name.lower(): value for name, value in source.options.items()}
    charset = charset_of(given)
    # Without a bound, the rest of a file behind an open quotation mark takes all memory.
    options = {
        **_RFC_4180,
        "maxcharspercolumn": str(MAX_BYTES),
        "escape": given.get("quote", '"'),
        **given,
        "columnnameofcorruptrecord": _BROKEN,
    }
    options.pop("charset", None)
    if charset == UTF_8:
        options.update({name: one_character_per_byte(options[name]) for name in _OF_CONTENT if name in options})
    options["encoding"] = LATIN_1 if charset == UTF_8 else charset
    return options, charset


def column_names(header: list[str], charset: str) -> list[str]:
    """Names columns as the header does; an empty or repeated name gets its position."""
    if charset == UTF_8:
        marked = header[0].startswith(_MARK)
        header = [from_one_character_per_byte(name) for name in header]
        if marked:
            # Before the quotation mark of a quoted name, the byte order mark made it part of the name.
            header[0] = header[0].removeprefix("\ufeff").removeprefix('"').removesuffix('"')
    lowered = [name.lower() for name in header]
    return [
        f"_c{index}" if not name else name if lowered.count(name.lower()) == 1 else f"{name}{index}"
        for index, name in enumerate(header)
    ]


def _is_ambiguous(cells: DataFrame, header: list[str], folders: list[str]) -> bool:
    """Whether names repeat in the header, so that headers cannot be compared; refused where that would matter."""
    lowered = [name.lower() for name in header]
    both = [name for name in folders if name.lower() in lowered]
    if both:
        raise InputError(
            f"column {both[0]!r} is in the files and in names of folders too. Rename one, or set recursiveFileLookup "
            "to true in source.options, which leaves out the names of folders."
        )
    if len(set(lowered)) == len(lowered):
        return False
    if len(cells.inputFiles()) > 1:
        raise InputError(
            "columns of the CSV header have the same name or none, so the headers of several files cannot be compared. "
            "Give each column its own name, or set enforceSchema to true in source.options if all files have the same "
            "columns."
        )
    return True


def _check_closed(spark: SparkSession, path: str, options: dict[str, str], rows: DataFrame, last: str) -> None:
    """Refuses files whose last quotation mark is missing: the reader takes all that follows for one field."""
    quote = options["quote"]
    if options["multiline"].lower() != "true" or options["escape"] != quote or len(quote) != 1:
        return
    of_lines = {name: value for name, value in options.items() if name not in _NOT_OF_LINES}
    lines = spark.read.format("text").options(**of_lines).load(path)
    marks = F.octet_length("value") - F.octet_length(F.replace(F.col("value"), F.lit(quote), F.lit("")))
    counted = lines.select(F.col(FILE).alias("file"), marks.alias("marks")).groupBy("file").agg(F.sum("marks") % 2)
    odd = [row.file for row in counted.toDF("file", "odd").where("odd = 1").select("file").collect()]
    if not odd:
        return
    # A single mark may be a sign for inches in a field without quotation marks. Only an open field takes in lines.
    open_rows = rows.where(F.contains(F.col(last), F.lit("\n"))).select(F.col(FILE).alias("file"), last)
    found = sorted({row.file for row in open_rows.where(F.col("file").isin(odd)).select("file").distinct().collect()})
    if found:
        raise InputError(
            f"{file}: a quotation mark is never closed, so the rows after it are taken for one field. Close it, and "
            "double quotation marks inside a field."
            for file in found
        )


def _flags(source: SourceSettings, values: dict[str, Column], charset: str, is_checked: bool) -> list[Column]:
    def is_damaged(names: list[str]) -> Column:
        damaged = F.lit(False)
        for name in names:
            if name in values:
                value = values[name]
                found = ~F.is_valid_utf8(value) if charset == UTF_8 else F.contains(value, F.lit(_REPLACEMENT))
                damaged = damaged | F.coalesce(found, F.lit(False))
        return damaged

    detail = f"the row holds bytes that are not {charset}; encoding in source.options names another encoding"
    reason = refusal(INVALID_UTF8, F.lit(detail))
    conditions = {ID: is_damaged([source.id_name])}
    if is_checked:
        # Spark refuses a query that needs no other column of the files than the record that is broken.
        other = F.coalesce(F.col("_0") >= "", F.lit(True))
        conditions = {FIELDS: F.col(_BROKEN).isNotNull() & other, **conditions}
    refused = F.when(is_damaged([*source.text_names, *source.payload_columns]), reason)
    return [refused.alias(REFUSED_COLUMN), row_fault(F.col(FILE), conditions)]


def csv_fault(error: BaseException) -> str | None:
    """Says in words of CSV why reading failed; None if it is nothing of CSV."""
    text = str(error)
    found = _FILE_OF_ERROR.search(text)
    if "exceeds the maximum number of characters" in text:
        return (
            f"{found[1] if found else 'one of its files'} has a field of more than {MAX_BYTES:,} bytes, or a quotation "
            "mark that is never closed. Shorten the field, or close it."
        )
    if found is None:
        return None
    if "CSV header does not conform to the schema" in text:
        return (
            f"{found[1]} has other columns in its header than the first file, or in another order, or begins with a "
            "byte order mark as not all files do. Give all files the same header, or make them libraries of their own."
        )
    if "Unescaped quote character" in text:
        line = _LINE_OF_ERROR.search(text)
        near = f" near line {int(line[1]) + 1}" if line else ""
        return (
            f"{found[1]}{near}: a quotation mark inside quotation marks is not doubled. Double it; if the files escape "
            'it with a backslash, as Spark writes them, set escape to "\\\\" in source.options.'
        )
    if "NO_HINT" in text and "Caused by" not in text:
        return (
            f"{found[1]} cannot be read as CSV: its header differs from the first file's, or a quotation mark inside "
            "quotation marks is not doubled. Fix the file."
        )
    return None
