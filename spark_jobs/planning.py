"""How the work of a run is cut into slices; no I/O."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.errors import InputError

# Tokens that make a partition worth its fixed cost on a processor: seconds of a small model on one core.
_PARTITION_TOKENS = 50_000
# Once a rate is known: short enough to be spread evenly, long enough for what a task costs beside the model (0.3 s).
_PARTITION_SECONDS = 30
# Before that: a first slice is what slow processors do in ten minutes, which leaves each task a minute or two.
_FIRST_TASKS_A_SLOT = 8
# What one core cuts into chunks, at the least: counting tokens is far less work than embedding them.
CHUNKED_TOKENS_PER_SECOND = 50_000
# So that a huge slice does not drown in tasks.
_MOST_PARTITIONS = 512


@dataclass(frozen=True, slots=True)
class Group:
    """The planned documents of one slice key.

    Attributes:
        key: The slice key.
        tokens: Estimated tokens to embed.
        documents: Documents, by whatever change.
        to_embed: Documents of these whose text goes to the model.
        added: Documents of these that the ledger does not know.
    """

    key: int
    tokens: int
    documents: int
    to_embed: int
    added: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """A bounded group of whole documents: those whose slice key lies in a range.

    Attributes:
        number: Position in the run, from 1.
        first_key: Lowest slice key.
        last_key: Highest slice key.
        tokens: Estimated tokens to embed.
        documents: Documents in it, by whatever change.
        to_embed: Documents of these whose text goes to the model.
        added: Documents of these that the ledger does not know.
    """

    number: int
    first_key: int
    last_key: int
    tokens: int
    documents: int
    to_embed: int
    added: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do.

    Attributes:
        documents: Documents by change, unchanged ones included.
        groups: The planned documents by slice key, in order of key.
        how: How they were found, in words.
    """

    documents: Mapping[str, int]
    groups: tuple[Group, ...]
    how: str

    @property
    def tokens(self) -> int:
        """Estimated tokens to embed."""
        return sum(group.tokens for group in self.groups)


def next_slice(groups: Sequence[Group], number: int, bound: int) -> tuple[Slice, tuple[Group, ...]]:
    """Cuts the next slice off the work.

    Args:
        groups: What is left to do, at least one group, in order of key.
        number: Number of the slice, from 1.
        bound: Estimated tokens after which the slice is closed.

    Returns:
        The slice, and what is left after it. A slice has at least one group, which alone may exceed the bound.

    Example:
        >>> cut, rest = next_slice([Group(1, 50, 2, 2), Group(3, 60, 1, 1), Group(7, 10, 1, 1)], 1, 110)
        >>> (cut.first_key, cut.last_key, cut.tokens, cut.documents), [group.key for group in rest]
        ((1, 3, 110, 3), [7])
    """
    count, tokens = 1, groups[0].tokens
    while count < len(groups) and tokens + groups[count].tokens <= bound:
        tokens += groups[count].tokens
        count += 1
    taken = groups[:count]
    documents, to_embed = sum(group.documents for group in taken), sum(group.to_embed for group in taken)
    added = sum(group.added for group in taken)
    return Slice(number, taken[0].key, taken[-1].key, tokens, documents, to_embed, added), tuple(groups[count:])


def partition_count(tokens: int, slots: int = 1, tokens_per_second: float = 0.0) -> int:
    """Chooses how many partitions inference or chunking is spread over.

    Args:
        tokens: Estimated tokens to embed or to cut.
        slots: Tasks that run at the same time, as far as is known.
        tokens_per_second: What all of them do together; 0 before anything was measured.

    Returns:
        At least 1; a multiple of the slots where there is work for more than one round of tasks.

    Example:
        >>> partition_count(30_000, 2), partition_count(250_000, 2), partition_count(10_000_000, 2, 100_000.0)
        (1, 6, 8)
    """
    share = tokens / slots
    wanted = tokens_per_second / slots * _PARTITION_SECONDS if tokens_per_second else share / _FIRST_TASKS_A_SLOT
    size = max(_PARTITION_TOKENS, min(share, wanted))
    count = max(1, math.ceil(tokens / size))
    rounded = -(-count // slots) * slots if count > slots else count
    return min(rounded, max(_MOST_PARTITIONS, slots))


def reading_pays(texts: int, stored_rows: int, rows_per_text: int = 500) -> bool:
    """Decides whether to fetch vectors that stand elsewhere in the table, or to make them again.

    Vectors are found by reading the whole column, whatever the number of texts. Reading 500 of them takes about as long
    as embedding one text on a processor: 100,000 rows of 384 numbers a second for each core, against 200 texts.

    Args:
        texts: Texts whose vectors stand elsewhere in the table.
        stored_rows: Rows of the table.
        rows_per_text: Rows that are read in the time that one text takes.

    Returns:
        Whether reading is the cheaper way.

    Example:
        >>> reading_pays(3, 1_000), reading_pays(3, 1_000_000), reading_pays(0, 10)
        (True, False, False)
    """
    return 0 < stored_rows <= texts * rows_per_text


def guard_removals(removed: int, known: int, left: int, max_fraction: float) -> None:
    """Refuses a plan that looks like a broken source rather than a pruned one.

    Args:
        removed: Documents of the space that the source no longer has.
        known: Documents of the space.
        left: Documents of the source.
        max_fraction: Largest share that may be removed.

    Raises:
        InputError: The share is larger, or nothing would be left.
    """
    # By division: 0.29 * 100 falls just short of 29 in floats, 29 / 100 is what 0.29 is.
    if known and (removed / known > max_fraction or not left):
        raise InputError(
            f"{removed} of {known} documents are gone from the source, "
            + (f"more than run.max_removed_fraction {max_fraction} allows" if left else "which has none left")
            + ": check the source; if they are meant to go, run again with --allow-removals"
        )
