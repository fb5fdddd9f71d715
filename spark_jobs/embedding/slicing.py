"""How the work of a run is cut into slices, and the limits on a plan; no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.errors import InputError
from schemas.plan import CHANGE_WORDS, REMOVED, UNCHANGED
from spark_jobs.settings.sections import RunSettings

# What a small run keeps in memory: rows without texts, and beside them ids and payload.
_MOST_HELD_ROWS = 25_000
_MOST_HELD_BYTES = 16 << 20
_MOST_HELD_VECTORS = 64 << 20
# Fewer tokens than chunks have, unless they are documents of their own.
_CHUNK_TOKENS = 64
# Enough to measure a rate, and few enough to be committed within minutes on any machine.
LEAST_TOKENS = 250_000
# Limits the work lost if a run is killed, however small the model is.
_MOST_FIRST_TOKENS = 4_000_000
# Operations per second of one core; processors of the last ten years reach 30 to 200 billion in float32.
_OPERATIONS = 60e9
# A rate measured on few tokens may be far off; slices grow by no more than this factor.
_GROWTH = 8
# A slice costs a dozen statements, so the rest joins the slice unless together they exceed the bound this many times.
_WITH_REST = 2


@dataclass(frozen=True, slots=True)
class Group:
    """The planned documents of one slice key.

    Attributes:
        key: The slice key.
        tokens: Estimated tokens to embed.
        documents: Planned documents, of any change.
        to_embed: Documents with text to embed.
        added: Documents without a ledger row.
        rows: Stored chunks of all of them, which a commit may update or remove, and documents without text to embed.
    """

    key: int
    tokens: int
    documents: int
    to_embed: int
    added: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """A bounded number of whole documents: those with a slice key from `first_key` to `last_key`.

    Attributes:
        number: Number of the slice in the run, from 1.
        first_key: Lowest slice key.
        last_key: Highest slice key.
        tokens: Estimated tokens to embed.
        documents: Planned documents, of any change.
        to_embed: Documents with text to embed.
        added: Documents without a ledger row.
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
        how: How the plan was made, in words.
        digest: Digest of the documents that get a row in the ledger, with their hashes.
    """

    documents: Mapping[str, int]
    groups: tuple[Group, ...]
    how: str
    digest: int = 0

    @property
    def tokens(self) -> int:
        """Estimated tokens to embed."""
        return sum(group.tokens for group in self.groups)

    @property
    def planned(self) -> int:
        """Documents that the run works on."""
        return sum(group.documents for group in self.groups)

    @property
    def written(self) -> int:
        """Documents that get a row in the ledger."""
        return sum(number for change, number in self.documents.items() if change not in (REMOVED, UNCHANGED))

    @property
    def source_documents(self) -> int:
        """Documents in the source."""
        return sum(number for change, number in self.documents.items() if change != REMOVED)

    def __str__(self) -> str:
        """Renders the plan in one line."""
        documents = " · ".join(f"{self.documents[change]:,} {words}" for change, words in CHANGE_WORDS.items())
        return f"{documents} · about {self.tokens:,} tokens · by {self.how}"


def fits_in_memory(
    settings: RunSettings, documents: int, tokens: int, size: int, stored_chunks: int, dimension: int = 1
) -> bool:
    """Whether a run may keep its work in the driver's memory.

    If it is killed, what it embedded is lost, so its tokens are bounded by a setting.

    Args:
        settings: How runs are divided.
        documents: Planned documents.
        tokens: Estimated tokens to embed.
        size: Bytes of the documents' ids and payload.
        stored_chunks: Chunks of these documents that are stored.
        dimension: Numbers of a vector, of four bytes each.

    Returns:
        Whether it may.
    """
    bound = settings.memory_tokens
    if settings.slice_tokens != "auto":
        bound = min(bound, settings.slice_tokens)
    rows = stored_chunks + documents
    vectors = (documents + tokens // _CHUNK_TOKENS) * dimension * 4
    if vectors > _MOST_HELD_VECTORS:
        return False
    return tokens <= bound and rows <= min(_MOST_HELD_ROWS, settings.slice_rows) and size <= _MOST_HELD_BYTES


def next_slice(groups: Sequence[Group], number: int, bound: float, rows_bound: int) -> tuple[Slice, tuple[Group, ...]]:
    """Cuts the next slice off the work.

    Args:
        groups: The work that is left: one or more groups, ordered by key.
        number: Number of the slice, from 1.
        bound: Estimated tokens after which the slice is closed.
        rows_bound: Rows after which it is closed.

    Returns:
        The slice, and what is left after it. A slice has at least one group, even if that group exceeds a bound.

    Example:
        >>> cut, rest = next_slice([Group(1, 50, 2, 2), Group(3, 60, 1, 1), Group(7, 10, 1, 1)], 1, 110, 1000)
        >>> (cut.first_key, cut.last_key, cut.tokens, cut.documents), [group.key for group in rest]
        ((1, 3, 110, 3), [7])
    """
    count, tokens, rows = 1, groups[0].tokens, groups[0].rows
    for group in groups[1:]:
        tokens, rows = tokens + group.tokens, rows + group.rows
        if tokens > bound or rows > rows_bound:
            break
        count += 1
    taken = groups[:count]
    tokens, documents = sum(group.tokens for group in taken), sum(group.documents for group in taken)
    to_embed, added = sum(group.to_embed for group in taken), sum(group.added for group in taken)
    return Slice(number, taken[0].key, taken[-1].key, tokens, documents, to_embed, added), tuple(groups[count:])


def reading_pays(texts: int, stored_rows: int, rows_per_text: int = 500) -> bool:
    """Whether reading vectors that are already in a table is cheaper than embedding their texts again.

    Finding vectors means reading the whole column, however few the texts. Reading 500 rows takes about as long
    as embedding one text on a processor: each core reads 100,000 rows of 384 numbers a second and embeds 200 texts.

    Args:
        texts: Number of texts whose vectors are among the rows.
        stored_rows: Rows of the table, or of its part that has them.
        rows_per_text: Rows read in the time that embedding one text takes.

    Returns:
        Whether to read them.

    Example:
        >>> reading_pays(3, 1_000), reading_pays(3, 1_000_000), reading_pays(0, 10)
        (True, False, False)
    """
    return 0 < stored_rows <= texts * rows_per_text


def guard_removals(removed: int, known: int, left: int, max_fraction: float) -> None:
    """Refuses a plan that suggests a broken source rather than a pruned one.

    Args:
        removed: Documents in the space that the source no longer has.
        known: Documents in the space.
        left: Documents in the source.
        max_fraction: Largest share that may be removed.

    Raises:
        InputError: The share is larger, or nothing would be left.
    """
    # A division, because 0.29 * 100 is just below 29 in floats, while 29 / 100 equals 0.29.
    if known and (removed / known > max_fraction or not left):
        raise InputError(
            f"{removed} of {known} documents are gone from the source, "
            + (f"more than run.max_removed_fraction {max_fraction} allows" if left else "which has none left")
            + ". Check the source; if the removals are intended, run again with --allow-removals."
        )


def first_slice_tokens(weight_bytes: int, slots: int, slice_seconds: float) -> int:
    """Estimates the tokens of the first slice, before any rate is known.

    A token costs a Transformer two operations for each weight; most weights have four bytes.

    Args:
        weight_bytes: Size of the model's weights.
        slots: Tasks that run at the same time.
        slice_seconds: Seconds that a slice should take.

    Returns:
        Tokens that slow processors embed in that time, within limits; GPUs are many times faster.

    Example:
        >>> first_slice_tokens(91_000_000, 2, 600), first_slice_tokens(1_340_000_000, 2, 600)
        (1582417, 250000)
    """
    operations = max(1.0, weight_bytes / 4 * 2)
    return int(max(LEAST_TOKENS, min(_MOST_FIRST_TOKENS, slots * _OPERATIONS / operations * slice_seconds)))


def slice_bound(
    slice_tokens: int | Literal["auto"], slice_seconds: float, first: int, last: int, done: int, seconds: float
) -> int:
    """Chooses how many tokens the next slice may have.

    Args:
        slice_tokens: The setting; a number is returned as it is.
        slice_seconds: Seconds that a slice should take.
        first: Tokens of a slice before any rate is known.
        last: Tokens of the last slice; 0 before the first.
        done: Estimated tokens of the committed slices.
        seconds: Seconds spent on them.

    Returns:
        Estimated tokens after which a slice is closed.

    Example:
        >>> slice_bound("auto", 600, 800_000, 0, 0, 0.0), slice_bound("auto", 600, 1, 250_000, 250_000, 100.0)
        (800000, 1500000)
    """
    if slice_tokens != "auto":
        return slice_tokens
    if not done or not seconds:
        return first
    fitting = int(done / seconds * slice_seconds)
    return max(LEAST_TOKENS, min(fitting, _GROWTH * max(last, LEAST_TOKENS)))


def slice_count(settings: RunSettings, tokens: int, rows: int, first: int, tokens_per_second: float) -> int:
    """Counts the slices of a run whose rate is known beforehand.

    Args:
        settings: How runs are divided.
        tokens: Estimated tokens to embed.
        rows: Stored chunks of the documents that differ.
        first: Tokens of a slice before any rate is known.
        tokens_per_second: Expected rate of the slices, in estimated tokens; 0 if nobody knows.

    Returns:
        The slices, at least 1.

    Example:
        >>> slice_count(RunSettings(slice_seconds=60), 3_000_000, 0, 300_000, 10_000.0)
        5
    """
    count, last, left = 0, 0, tokens
    while left > 0:
        done = tokens - left
        seconds = done / tokens_per_second if tokens_per_second else 0.0
        bound = slice_bound(settings.slice_tokens, settings.slice_seconds, first, last, done, seconds)
        last = min(left, with_rest(settings.slice_tokens, bound, left))
        count, left = count + 1, left - last
    return max(1, count, -(-rows // settings.slice_rows))


def with_rest(slice_tokens: int | Literal["auto"], bound: int, left: int) -> int:
    """Extends a slice to everything left if that is little more than one slice.

    Args:
        slice_tokens: The setting; only `auto` slices are extended.
        bound: Estimated tokens after which the slice would be closed.
        left: Estimated tokens of everything left.

    Returns:
        The bound, or everything left.

    Example:
        >>> with_rest("auto", 1000, 1900), with_rest("auto", 1000, 2100), with_rest(1000, 1000, 1900)
        (1900, 1000, 1000)
    """
    return left if slice_tokens == "auto" and left <= _WITH_REST * bound else bound
