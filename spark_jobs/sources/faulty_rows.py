"""Rows that are no documents, because their file is broken: what is wrong, in which file, and how to say it."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

# Rows of parsed text formats have this column. It is null for all but rows that must not be taken for documents.
FAULT_COLUMN = "_fault"
FAULT = StructType([StructField("file", StringType()), StructField("kind", StringType())])
FIELDS = "fields"
LINE = "line"
VALUE = "value"
ID = "id"
FILE = "_metadata.file_path"
_SAID = {
    FIELDS: "{file}: {count:,} rows have more or fewer fields than the header. Put fields with separators, quotation "
    "marks or line breaks in quotation marks, and double quotation marks inside.",
    LINE: "{file}: {count:,} lines are not JSON objects. Fix them; if the file is one object over several lines, set "
    "multiLine to true in source.options.",
    VALUE: "{file} is not one JSON object or one array of objects. Fix it; if each line is an object of its own, set "
    "multiLine to false in source.options.",
    ID: "{file}: source.id_column {id_column} is not valid UTF-8 in {count:,} rows. Fix these ids, or name the files' "
    "encoding in source.options.",
}
_NAMED = 5


def row_fault(file: Column, conditions: dict[str, Column]) -> Column:
    """Builds `FAULT_COLUMN`: the first of the kinds whose condition a row meets."""
    kind = F.lit(None).cast("string")
    for name, condition in reversed(conditions.items()):
        kind = F.when(condition, F.lit(name)).otherwise(kind)
    fault = F.struct(file.alias("file"), kind.alias("kind"))
    return F.when(kind.isNotNull(), fault).cast(FAULT).alias(FAULT_COLUMN)


def is_faulty(rows: DataFrame) -> Column:
    """Whether a row must not be taken for a document; false for formats that have no such rows."""
    return F.col(FAULT_COLUMN).isNotNull() if FAULT_COLUMN in rows.columns else F.lit(False)


def describe_faults(rows: DataFrame, id_column: str) -> list[str]:
    """Counts faulty rows by file and kind.

    Args:
        rows: Rows with `FAULT_COLUMN`.
        id_column: Name of the id column.

    Returns:
        One message for each of the first files, and one that counts the others.
    """
    faulty = rows.where(F.col(FAULT_COLUMN).isNotNull()).groupBy(FAULT_COLUMN).agg(F.count(F.lit(1)).alias("n"))
    named = faulty.orderBy(FAULT_COLUMN).limit(_NAMED).collect()
    messages = [
        _SAID[row[FAULT_COLUMN].kind].format(file=row[FAULT_COLUMN].file, count=row.n, id_column=id_column)
        for row in named
    ]
    others = faulty.count() - len(named) if len(named) == _NAMED else 0
    return [*messages, f"The same is wrong in {others:,} more files."] if others else messages
