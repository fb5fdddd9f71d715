"""The mark that embedlake leaves in a target: whose rows these are and what they look like."""

from collections.abc import Mapping

import pyarrow as pa

from schemas.errors import InputError
from spark_jobs.targets.rows import described
from spark_jobs.targets.target import RowFormat

FORMAT = 1


def stamp_of(shape: RowFormat) -> dict[str, object]:
    """Makes the mark of an export's rows, of plain values that JSON holds.

    Args:
        shape: What the rows look like, and whose they are.

    Returns:
        The mark.
    """
    return {
        "embedlake": FORMAT,
        "owner": shape.owner,
        "dimension": shape.dimension,
        "columns": _columns(shape.rows),
    }


def _columns(rows: pa.Schema) -> dict[str, str]:
    # The embedding's type is said by the dimension.
    return {field.name: described(field.type) for field in rows if field.name != "embedding"}


def _whose(owner: str) -> tuple[str, str]:
    who, _, fingerprint = owner.rpartition(" ")
    return who, fingerprint


def is_stamp(found: object) -> bool:
    """Tells whether something is a mark of embedlake that this version can read.

    Args:
        found: Anything that JSON can hold.

    Returns:
        Whether it is.
    """
    return (
        isinstance(found, Mapping)
        and found.get("embedlake") == FORMAT
        and isinstance(found.get("owner"), str)
        and isinstance(found.get("dimension"), int)
        and isinstance(found.get("columns"), Mapping)
    )


def same_owner(found: object, shape: RowFormat) -> bool:
    """Tells whether the rows that are there are this export's own: same library, space and model.

    Args:
        found: The mark that is there.
        shape: What the rows look like, and whose they are.

    Returns:
        Whether they are.
    """
    return isinstance(found, Mapping) and found.get("owner") == shape.owner


def same_format(found: object, shape: RowFormat) -> bool:
    """Tells whether the rows that are there have this dimension and these columns.

    Args:
        found: The mark that is there.
        shape: What the rows look like.

    Returns:
        Whether they have.
    """
    wanted = stamp_of(shape)
    return isinstance(found, Mapping) and all(found.get(key) == wanted[key] for key in ("dimension", "columns"))


def check_stamp(found: object, shape: RowFormat, full: bool, where: str) -> None:
    """Refuses to write where something else is.

    Args:
        found: The mark that is there; anything else where there is none.
        shape: What the rows look like, and whose they are.
        full: Whether what is there of the same library and space may be replaced.
        where: The target as a message names it.

    Raises:
        InputError: embedlake did not make it, it belongs to another library or space, or, without `full`, it has the
            rows of another model, another dimension or other columns; every fault is named.
    """
    if not isinstance(found, Mapping) or not is_stamp(found):
        raise InputError(f"{where} was not made by embedlake, or by another version of it: name another target")
    (who, model), (wanted_who, wanted_model) = _whose(found["owner"]), _whose(shape.owner)
    if who != wanted_who:
        raise InputError(f"{where} belongs to `{who}`, and this is `{wanted_who}`: name another target")
    if full:
        return
    faults = [] if model == wanted_model else ["has the vectors of another model"]
    if found["dimension"] != shape.dimension:
        faults.append(f"has vectors of {found['dimension']} numbers, and these have {shape.dimension}")
    faults += _column_faults(found["columns"], _columns(shape.rows))
    if faults:
        raise InputError(f"{where} {fault}: export with --full to replace all of it" for fault in faults)


def _column_faults(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    faults = [f"lacks the column {name!r} ({kind})" for name, kind in wanted.items() if name not in found]
    faults += [f"has a column {name!r} that is no longer there" for name in found if name not in wanted]
    return faults + [
        f"has the column {name!r} as {found[name]}, and it is {kind} now"
        for name, kind in wanted.items()
        if name in found and found[name] != kind
    ]
