"""The hash that tells whether a document's payload changed: of every value, no difference may be lost."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    IntegralType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
    VariantType,
)

from schemas.table import quoted

# JSON keeps these apart, as long as strings are valid UTF-8. It cuts times to milliseconds, writes maps in any order,
# and replaces bytes that are not UTF-8.
_KEPT_BY_JSON = (StringType, BooleanType, IntegralType, DateType)


def payload_hash(payload: Sequence[StructField]) -> Column:
    """Builds the hash of a source row's payload columns.

    It is the SHA-256 (hex) of the payload as JSON where JSON loses nothing, and otherwise of this encoding: a null is
    `n`; any other value is `v`, the length of its bytes, `:`, and its bytes. The bytes of a string or of binary are its
    own, those of a timestamp its microseconds since 1970 in decimal digits, those of a struct or an array its encoded
    fields or elements one after the other, those of a map its encoded keys and values in order of the keys, those of a
    variant its JSON, and those of any other value the text to which Spark casts it.

    Args:
        payload: Fields of the payload columns.

    Returns:
        A column of type string, never null.
    """
    columns = [F.col(quoted(field.name)) for field in payload]
    if not payload:
        return F.sha2(F.lit(""), 256)
    fields = [_encoded(column, field.dataType) for column, field in zip(columns, payload, strict=True)]
    exact = F.sha2(F.concat(*fields), 256)
    if not all(isinstance(field.dataType, _KEPT_BY_JSON) for field in payload):
        return exact
    # A null written as a missing key must not look like a change.
    json = F.sha2(F.to_json(F.struct(*columns), {"ignoreNullFields": "false", "timeZone": "UTC"}), 256)
    is_broken = F.lit(False)
    for column, field in zip(columns, payload, strict=True):
        if isinstance(field.dataType, StringType):
            is_broken = is_broken | ~F.coalesce(F.is_valid_utf8(column), F.lit(True))
    return F.when(is_broken, exact).otherwise(json)


def _encoded(value: Column, kind: DataType) -> Column:
    body = _body(value, kind)
    length = F.encode(F.concat(F.lit("v"), F.octet_length(body).cast("string"), F.lit(":")), "UTF-8")
    return F.when(value.isNull(), F.encode(F.lit("n"), "UTF-8")).otherwise(F.concat(length, body))


def _body(value: Column, kind: DataType) -> Column:
    if isinstance(kind, StringType | BinaryType):
        return value.cast("binary")
    if isinstance(kind, StructType):
        return _joined([_encoded(value.getField(field.name), field.dataType) for field in kind])
    if isinstance(kind, ArrayType):
        return _all_of(F.transform(value, lambda element: _encoded(element, kind.elementType)))
    if isinstance(kind, MapType):
        entries = F.transform(
            F.map_entries(value),
            lambda entry: F.struct(
                _encoded(entry.getField("key"), kind.keyType).alias("key"),
                _encoded(entry.getField("value"), kind.valueType).alias("value"),
            ),
        )
        pairs = F.transform(F.array_sort(entries), lambda e: F.concat(e.getField("key"), e.getField("value")))
        return _all_of(pairs)
    if isinstance(kind, TimestampType):
        # As text it would depend on the session's time zone.
        return F.unix_micros(value).cast("string").cast("binary")
    if isinstance(kind, VariantType):
        return F.to_json(value).cast("binary")
    return value.cast("string").cast("binary")


def _joined(parts: Sequence[Column]) -> Column:
    return F.concat(F.lit(b""), *parts)


def _all_of(parts: Column) -> Column:
    return F.aggregate(parts, F.lit(b""), lambda done, part: F.concat(done, part))
