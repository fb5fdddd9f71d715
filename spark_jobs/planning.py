"""How the work of a run is cut into slices; no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Slice:
    """A bounded group of whole documents: those whose slice key lies in a range.

    Attributes:
        number: Position in the run, from 1.
        first_key: Lowest slice key.
        last_key: Highest slice key.
        tokens: Estimated tokens to embed.
        documents: Documents in it, by whatever change.
        to_embed: Documents of these whose text is new.
    """

    number: int
    first_key: int
    last_key: int
    tokens: int
    documents: int
    to_embed: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do.

    Attributes:
        documents: Documents by change, unchanged ones included.
        slices: The groups in which it is done.
    """

    documents: Mapping[str, int]
    slices: tuple[Slice, ...]

    @property
    def tokens(self) -> int:
        """Estimated tokens to embed."""
        return sum(part.tokens for part in self.slices)


def cut_slices(keys: Iterable[tuple[int, int, int, int]], slice_tokens: int) -> tuple[Slice, ...]:
    """Cuts the work into slices of like size.

    Args:
        keys: Slice key, estimated tokens, documents and documents to embed, for each key that has documents.
        slice_tokens: Estimated tokens after which a slice is closed.

    Returns:
        Slices in order of key; each has at least one key, hence a single key may exceed the bound.

    Example:
        >>> cut = cut_slices([(3, 60, 1, 1), (1, 50, 2, 2), (7, 10, 1, 1)], 100)
        >>> [(part.first_key, part.last_key, part.tokens) for part in cut]
        [(1, 1, 50), (3, 7, 70)]
    """
    slices: list[Slice] = []
    for key, tokens, documents, to_embed in sorted(keys):
        last = slices[-1] if slices else None
        if last is not None and last.tokens + tokens <= slice_tokens:
            slices[-1] = replace(
                last,
                last_key=key,
                tokens=last.tokens + tokens,
                documents=last.documents + documents,
                to_embed=last.to_embed + to_embed,
            )
        else:
            slices.append(Slice(len(slices) + 1, key, key, tokens, documents, to_embed))
    return tuple(slices)


def partition_count(tokens: int, partition_tokens: int = 50_000, most: int = 512) -> int:
    """Chooses how many partitions inference is spread over.

    Args:
        tokens: Estimated tokens to embed.
        partition_tokens: Tokens that make a partition worth its fixed cost.
        most: Upper bound, so that a huge slice does not drown in tasks.

    Returns:
        At least 1.
    """
    return max(1, min(most, -(-tokens // partition_tokens)))


def guard_removals(removed: int, ledger_documents: int, max_fraction: float) -> None:
    """Refuses a plan that looks like a broken source rather than a pruned one.

    Args:
        removed: Documents of the ledger that the source no longer has.
        ledger_documents: Documents of the ledger.
        max_fraction: Largest share that may be removed.

    Raises:
        InputError: The share is larger.
    """
    # By division: 0.29 * 100 falls just short of 29 in floats, 29 / 100 is what 0.29 is.
    if ledger_documents and removed / ledger_documents > max_fraction:
        raise InputError(
            f"{removed} of {ledger_documents} documents are gone from the source, more than "
            f"run.max_removed_fraction {max_fraction} allows: check the source; if they are meant to go, "
            "run again with --allow-removals"
        )
