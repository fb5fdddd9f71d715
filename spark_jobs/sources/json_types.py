"""Payload columns of JSON, whose files have no types: they are read with those of the space where no value is lost."""

from collections.abc import Callable, Mapping, Sequence

from pyspark.sql.types import ArrayType, DataType, DecimalType, DoubleType, LongType, StructType

_LONG_DIGITS = 19


def with_known_types(
    found: Mapping[str, DataType],
    payload: Sequence[str],
    known: Mapping[str, DataType],
    of_values: Callable[[], Mapping[str, DataType]],
) -> tuple[dict[str, DataType], tuple[str, ...]]:
    """Gives payload columns the types that the space has for them.

    Spark infers types from the values of one delivery: a column of which no row has a value is not there or is a
    string, and one of decimals is one of whole numbers if none has a fraction today.

    Args:
        found: Types of the delivery's columns by name, as Spark infers them.
        payload: Names of the payload columns.
        known: Types of the space's columns by name; empty for a new space.
        of_values: Infers the types of columns that have a value in some row; asked if it matters.

    Returns:
        The types, in which such columns have those of the space, and the names of the columns that no row has a value
        of. A column with other values than the space's type can hold stays as it is, and is refused later.
    """
    differing = [name for name in payload if name in known and found.get(name) != known[name]]
    others = {name.lower() for name in found if name not in differing}
    # Two names that differ by case would be one column.
    if not differing or {name.lower() for name in differing} & others:
        return dict(found), ()
    valued = of_values()
    absent = tuple(name for name in differing if name not in valued)
    taken = {name: known[name] for name in differing if name in absent or holds(known[name], valued[name])}
    return {**found, **taken}, absent


def holds(known: DataType, found: DataType) -> bool:
    """Tells whether every JSON value of a type can be read as another type without losing anything.

    Args:
        known: The type to read as.
        found: The type that Spark infers, without fields that have no value.

    Returns:
        Whether this is what Spark would infer from values of both types together.

    Example:
        >>> holds(DoubleType(), LongType()), holds(LongType(), DoubleType())
        (True, False)
    """
    if isinstance(known, StructType) and isinstance(found, StructType):
        kinds = {field.name: field.dataType for field in known}
        return all(field.name in kinds and holds(kinds[field.name], field.dataType) for field in found)
    if isinstance(known, ArrayType) and isinstance(found, ArrayType):
        return holds(known.elementType, found.elementType)
    if isinstance(known, DecimalType) and isinstance(found, DecimalType | LongType):
        digits, scale = (_LONG_DIGITS, 0) if isinstance(found, LongType) else (found.precision, found.scale)
        return known.scale >= scale and known.precision - known.scale >= digits - scale
    return known == found or (isinstance(known, DoubleType) and isinstance(found, LongType))
