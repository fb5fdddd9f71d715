"""The ownership stamp that embedlake leaves in a target: who owns the rows, and what they look like."""

from collections.abc import Mapping

import pyarrow as pa

from schemas.errors import InputError
from spark_jobs.targets.rows import type_name
from spark_jobs.targets.target import RowFormat

FORMAT = 1


def stamp_of(row_format: RowFormat) -> dict[str, object]:
    """Builds the ownership stamp of an export's rows, from values that JSON can hold."""
    return {
        "embedlake": FORMAT,
        "owner": row_format.owner,
        "dimension": row_format.dimension,
        "columns": _columns(row_format.rows),
        "table": row_format.table,
    }


def is_stamp(found: object) -> bool:
    """Whether any JSON value is an ownership stamp that this version can read."""
    return (
        isinstance(found, Mapping)
        and found.get("embedlake") == FORMAT
        and isinstance(found.get("owner"), str)
        and isinstance(found.get("dimension"), int)
        and isinstance(found.get("columns"), Mapping)
    )


def same_owner(stamp: object, row_format: RowFormat) -> bool:
    """Whether a target's rows belong to the same library, space and model as this export's."""
    return isinstance(stamp, Mapping) and stamp.get("owner") == row_format.owner


def same_format(stamp: object, row_format: RowFormat) -> bool:
    """Whether a target's rows have the dimension and columns of this export's."""
    expected = stamp_of(row_format)
    return isinstance(stamp, Mapping) and all(stamp.get(key) == expected[key] for key in ("dimension", "columns"))


def replaced_space(found: object, row_format: RowFormat) -> str | None:
    """Names the space whose rows an export replaces as a whole, because its library has changed to another one.

    Args:
        found: The target's ownership stamp, or any other value if it has none.
        row_format: Format and owner of the rows to be sent, and what the record of exports knows of earlier ones.

    Returns:
        Library and space of the target's rows; None if they come from this same table, from another library, or from
        no table that this store has exported.
    """
    if not isinstance(found, Mapping) or not is_stamp(found) or found.get("table") == row_format.table:
        return None
    space, own = (_split_owner(owner)[0].partition(" ")[2] for owner in (found["owner"], row_format.owner))
    if space.partition(".")[0] != own.partition(".")[0]:
        return None
    if "table" in found:
        is_known = found["table"] in row_format.earlier_tables
    else:
        is_known = found["owner"] != row_format.owner and found["owner"] in row_format.earlier_owners
    return space if is_known else None


def check_stamp(found: object, row_format: RowFormat, full: bool, target: str) -> str | None:
    """Refuses to write to a target that belongs to someone else.

    Args:
        found: The target's ownership stamp, or any other value if it has none.
        row_format: Format and owner of the rows to be sent.
        full: Whether existing rows of the same library and space may be replaced.
        target: The target as messages name it.

    Returns:
        The space whose rows the export replaces as a whole (see `replaced_space`); None if they are its own.

    Raises:
        InputError: embedlake did not create the target, it belongs to another library, or to another space that this
            store has not exported, or, without `full`, its rows come from another table or have a different model,
            dimension or columns; every fault is named.
    """
    if not isinstance(found, Mapping) or not is_stamp(found):
        raise InputError(f"{target} was not created by embedlake, or by another version of it. Name another target.")
    replaced = replaced_space(found, row_format)
    if replaced is not None:
        return replaced
    (space, model), (expected_space, expected_model) = _split_owner(found["owner"]), _split_owner(row_format.owner)
    if space != expected_space:
        raise InputError(f"{target} belongs to {_named(space, expected_space)}. Name another target.")
    if full:
        return None
    faults = [] if model == expected_model else ["has the vectors of another model"]
    # Earlier versions did not write the table's id.
    if found.get("table", row_format.table) != row_format.table:
        faults.append("has the rows of another table, in another store or made anew since")
    if found["dimension"] != row_format.dimension:
        faults.append(f"has vectors of {found['dimension']} numbers, and these have {row_format.dimension}")
    faults += _column_faults(found["columns"], _columns(row_format.rows))
    if faults:
        raise InputError(f"{target} {fault}. Export with --full to replace all of it." for fault in faults)
    return None


def _columns(rows: pa.Schema) -> dict[str, str]:
    # The dimension stands for the embedding's type.
    return {field.name: type_name(field.type) for field in rows if field.name != "embedding"}


def _split_owner(owner: str) -> tuple[str, str]:
    """Splits an owner into library and space, and the model's fingerprint."""
    space, _, fingerprint = owner.rpartition(" ")
    return space, fingerprint


def _named(space: str, expected: str) -> str:
    """Names somebody else's space, beside the one that was expected."""
    if space.partition(".")[0] == expected.partition(".")[0]:
        return f"`{space}`, of which this store has no export on record, not to `{expected}`"
    return f"`{space}`, not to `{expected}`"


def _column_faults(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    faults = [f"lacks the column {name!r} ({kind})" for name, kind in expected.items() if name not in found]
    faults += [f"has a column {name!r} that no longer exists" for name in found if name not in expected]
    return faults + [
        f"has the column {name!r} as {found[name]}, and it is {kind} now"
        for name, kind in expected.items()
        if name in found and found[name] != kind
    ]
