"""The format of a store: a number that grows whenever its tables change.

1. Stores without a number: all that were written before there was one.
2. `staged_vectors` has `run_number` and `slice_number`, `plan` has `stored_chunks` and `refused`.
3. `inference` in `runs` has `backend`, `backend_note`, `torch_rate` and `openvino_rate`.
4. `spaces` has one row for each change of a space instead of one for each space, and so `number`, `change`,
   `changed_at`, `changed_by`, `reason` and `figures`.
5. `plan` and `staged_chunks` have `context`, and so has `vectors` in spaces whose chunks have one.
"""

from schemas.errors import InputError

FORMAT = 5
# A property of every table that embedlake creates. Delta keeps it, and every reader of Delta shows it.
FORMAT_PROPERTY = "embedlake.format"


def refuse_newer(found: int, store: str) -> None:
    """Refuses a store whose format this version does not know.

    Args:
        found: The store's format.
        store: Where the store is.

    Raises:
        InputError: The format is newer.
    """
    if found > FORMAT:
        raise InputError(
            f"the store at {store} has format {found}, and this version of embedlake knows formats up to {FORMAT}. "
            "Install the version that wrote to it last, or a later one."
        )
