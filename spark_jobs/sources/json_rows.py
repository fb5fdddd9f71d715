"""JSON as a source: lines of objects or whole files, with every broken line counted and no character replaced."""

from collections.abc import Callable, Iterable, Mapping

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StringType, StructField, StructType

from schemas.errors import InputError
from schemas.reasons import INVALID_UTF8, MAX_BYTES
from schemas.table import quoted
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.charsets import LATIN_1, UTF_8, charset_of
from spark_jobs.sources.faulty_rows import FILE, ID, LINE, VALUE, row_fault
from spark_jobs.sources.json_types import with_known_types
from spark_jobs.sources.location import as_written, load_path
from spark_jobs.sources.refusals import REFUSED_COLUMN, refusal, too_large

_BROKEN = "_broken_record"
_REPLACEMENT = "\ufffd"
# An escape of half a character, whose other half does not follow or precede it. Before it are whole pairs of
# backslashes, each of which is a backslash of the text.
_HALF = (
    r"(?<!\\)((?:\\\\)*)(?:"
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|"
    r"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_AN_ARRAY = ArrayType(StringType())
_NOT_OF_LINES = ("encoding", "charset", "multiline", "wholetext")


def read_json(
    spark: SparkSession, source: SourceSettings, known: Callable[[], Mapping[str, DataType]] = dict
) -> tuple[DataFrame, tuple[str, ...]]:
    """Reads files of one object per line, or of one array or object each.

    Args:
        spark: A live session.
        source: The source's settings. With a `mode` or an encoding of several bytes, all is as Spark's reader has it.
        known: Finds the types of the space's columns by name; asked if there is payload.

    Returns:
        Columns of the objects and of folder names, `REFUSED_COLUMN` and `FAULT_COLUMN`; and the payload columns that
        have the space's types because no row has a value of them.

    Raises:
        InputError: Some files are lines and others are arrays over several lines.
    """
    path = load_path(source.path or "")
    given = {name.lower(): value for name, value in source.options.items()}
    # By default a string of 20 million characters is no JSON.
    options = {"maxstringlen": str(MAX_BYTES), **given}
    charset = charset_of(options)
    options.pop("charset", None)
    if charset != UTF_8:
        # Spark asks for it where bytes of a line end might be part of a character.
        options = {"linesep": "\n", **options, "encoding": charset}
    else:
        options.pop("encoding", None)
    if "mode" in options or charset not in (UTF_8, LATIN_1):
        return spark.read.format("json").options(**options).load(path), ()
    is_whole = options.get("multiline", "false").lower() == "true"
    inferred = _inferred(spark, path, options)
    texts = _texts(spark, source, path, options, charset, is_whole=False)
    if _BROKEN in inferred.names and not is_whole and _are_arrays(texts):
        is_whole = True
        inferred = _inferred(spark, path, {**options, "multiline": "true"})
    if is_whole:
        texts = _elements(_texts(spark, source, path, options, charset, is_whole=True))
    folders = [name for name in texts.columns if name not in ("value", "is_valid", "file")]
    fields = [field for field in inferred if field.name not in (_BROKEN, *folders)]
    if not fields and _BROKEN in inferred.names:
        # Every line is broken, and the count says so.
        fields = [StructField(name, StringType()) for name in sorted(set(source.named_columns).difference(folders))]
    if not fields:
        return spark.read.format("json").options(**options).load(path), ()
    payload = [name for name in source.payload_columns if name not in folders]
    of_files = {**options, "multiline": str(is_whole).lower(), "dropfieldifallnull": "true"}
    kinds, absent = with_known_types(
        _types(fields), payload, known() if payload else {}, lambda: _types(_inferred(spark, path, of_files))
    )
    fields = [StructField(name, kind) for name, kind in kinds.items()]
    return _rows(texts, source, fields, folders, options, VALUE if is_whole else LINE), absent


def _types(fields: Iterable[StructField]) -> dict[str, DataType]:
    return {field.name: field.dataType for field in fields}


def _inferred(spark: SparkSession, path: str, options: dict[str, str]) -> StructType:
    options = {**options, "columnnameofcorruptrecord": _BROKEN}
    return spark.read.format("json").options(**options).load(path).schema


def _texts(
    spark: SparkSession, source: SourceSettings, path: str, options: dict[str, str], charset: str, is_whole: bool
) -> DataFrame:
    """Reads lines or whole files as they are: value, is_valid, file, and the columns of folder names."""
    of_lines = {name: value for name, value in options.items() if name not in _NOT_OF_LINES}
    reader = spark.read.format("text").options(**of_lines, wholetext=str(is_whole).lower())
    value, *folders = reader.load(path).schema
    raw = reader.schema(StructType([value, *as_written(folders, source.named_columns)])).load(path)
    if charset == LATIN_1:
        raw = raw.withColumn("value", F.decode(F.col("value").cast("binary"), LATIN_1))
    # Without blanks and a byte order mark at the start.
    trimmed = raw.withColumn("value", F.expr(r"trim(LEADING ' \t\r\n\ufeff' FROM value)")).where("value != ''")
    return trimmed.withColumns({"is_valid": F.is_valid_utf8("value"), "file": F.col(FILE)})


def _are_arrays(texts: DataFrame) -> bool:
    """Whether the files are arrays over several lines; refused if only some are."""
    starts = texts.where(F.col("_metadata.file_block_start") == 0).select(
        "file", "value", F.monotonically_increasing_id().alias("position")
    )
    first = starts.groupBy("file").agg(F.min_by("value", "position").alias("line"))
    is_array = F.startswith(F.col("line"), F.lit("[")) & F.from_json("line", _AN_ARRAY).isNull()
    counted = first.select("file", is_array.alias("is_array")).agg(
        F.min(F.when(F.col("is_array"), F.col("file"))).alias("array"),
        F.min(F.when(~F.col("is_array"), F.col("file"))).alias("lines"),
    )
    row = counted.collect()[0]
    if row.array is not None and row.lines is not None:
        raise InputError(
            f"{row.array} is one array over several lines, and {row.lines} has an object in each line. Put them in "
            "folders of their own, or write all files in the same way."
        )
    return row.array is not None


def _elements(files: DataFrame) -> DataFrame:
    """Makes a row of each element of the files' arrays; a file that holds more or less than one value has a null."""
    # In brackets of its own, a file with anything after its value is no JSON.
    is_one = F.from_json(F.concat(F.lit("["), "value", F.lit("]")), _AN_ARRAY).isNotNull()
    elements = F.when(F.startswith(F.col("value"), F.lit("[")), F.from_json("value", _AN_ARRAY)).otherwise(
        F.array("value")
    )
    nothing = F.array(F.lit(None).cast("string"))
    others = [F.col(quoted(name)) for name in files.columns if name != "value"]
    return files.select(*others, F.explode(F.when(is_one, elements).otherwise(nothing)).alias("value"))


def _rows(
    texts: DataFrame,
    source: SourceSettings,
    fields: list[StructField],
    folders: list[str],
    options: dict[str, str],
    broken: str,
) -> DataFrame:
    value = F.col("value")
    has_half = (F.contains(value, F.lit(r"\ud")) | F.contains(value, F.lit(r"\uD"))) & value.rlike(_HALF)
    whole = F.when(has_half, F.regexp_replace(value, _HALF, r"$1\\ufffd")).otherwise(value)
    flaw = F.when(has_half, r"half of a character is missing after an escape such as \ud800").when(
        ~F.col("is_valid"), "the row holds bytes that are not UTF-8; encoding in source.options names another encoding"
    )
    # In brackets, a line with anything after its object is no JSON, and is not cut short.
    as_array = F.when(F.startswith(value, F.lit("[")), whole).otherwise(F.concat(F.lit("["), whole, F.lit("]")))
    of_values = {name: text for name, text in options.items() if name not in (*_NOT_OF_LINES, "linesep")}
    size = F.octet_length(value)
    objects = F.when(size > MAX_BYTES, _without_texts(as_array, source, fields, of_values)).otherwise(
        F.from_json(as_array, ArrayType(StructType(fields)), of_values)
    )
    nothing = F.array(F.lit(None).cast(StructType(fields)))
    of_folders = [F.col(quoted(name)) for name in folders]
    items = texts.select(
        *of_folders,
        "file",
        flaw.alias("flaw"),
        size.alias("size"),
        F.explode(F.coalesce(objects, nothing)).alias("item"),
    )
    values = {field.name: F.col("item").getField(field.name) for field in fields}
    refused = _refusal(values, source)
    ids = [values[source.id_name]] if source.id_name in values else []
    fault = row_fault(F.col("file"), {broken: F.col("item").isNull(), ID: _is_replaced(ids)})
    columns = [value.alias(name) for name, value in values.items()]
    return items.select(*columns, *of_folders, refused.alias(REFUSED_COLUMN), fault)


def _refusal(values: dict[str, Column], source: SourceSettings) -> Column:
    shown = [values[name] for name in (*source.text_names, *source.payload_columns) if name in values]
    return F.when(F.col("size") > MAX_BYTES, too_large(F.col("size"), MAX_BYTES, "bytes in its line")).when(
        _is_replaced(shown), refusal(INVALID_UTF8, F.col("flaw"))
    )


def _without_texts(array: Column, source: SourceSettings, fields: list[StructField], options: dict[str, str]) -> Column:
    """Parses all but the texts, which the parser then steps over without a copy of them."""
    parsed = [field for field in fields if field.name not in source.text_names]
    objects = F.from_json(array, ArrayType(StructType(parsed)), options)

    def as_whole(item: Column) -> Column:
        return F.struct(
            *[
                (item.getField(field.name) if field in parsed else F.lit(None).cast(field.dataType)).alias(field.name)
                for field in fields
            ]
        )

    return F.transform(objects, lambda item: F.when(item.isNotNull(), as_whole(item)))


def _is_replaced(values: list[Column]) -> Column:
    """Whether the values of a row with a flaw hold a replacement character; false without a flaw."""
    if not values:
        return F.lit(False)
    text = F.to_json(F.struct(*[value.alias(f"_{index}") for index, value in enumerate(values)]))
    return F.col("flaw").isNotNull() & F.contains(text, F.lit(_REPLACEMENT))
