"""Splits text into chunks that are small enough for the model, with offsets. An edit changes only the chunks near it.

A chunk ends at the strongest boundary within reach. Among equally strong boundaries, the hash of the sentences on both
sides decides, and the highest wins. Once two versions of a document are cut at the same boundary, all later cuts are
the same. This happens soon, because both versions look for the maximum of the same hashes. The method is called
content-defined chunking. The variant that takes the extreme within a window is described in Zhang et al., "AE: An
Asymmetric Extremum Content Defined Chunking Algorithm for Fast and Bandwidth-Efficient Data Deduplication", INFOCOM
2015.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from schemas.context import HEADINGS
from schemas.errors import InputError
from udfs.chunking.boundaries import Atom, Kind, sentences
from udfs.chunking.context import MOST_SHARE, Contexts
from udfs.chunking.outline import Outline, outline_of
from udfs.chunking.pieces import pieces
from udfs.specs import ChunkSpec

# No language has words this long. Text with more characters per token is blank, or the tokenizer replaced it with one
# unknown token. In that case its length in characters is used, so that a chunk cannot grow without bound.
_CHARACTERS_PER_TOKEN = 32
_LONGEST_PIECE = 64
_LEADING_SPACE = 8
# By rules 2, characters on each side of a boundary that decide among equal ones. A table is one atom, and an edit in
# one of its rows is no reason to cut before it elsewhere.
_REACH = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model's tokenizer makes of a text.

    Attributes:
        tokens: Tokens of the model's input, including prompt and special tokens, not truncated.
        unknown: How many of them are the unknown token, which says nothing about what it stands for.
        hidden: Characters of the text behind unknown tokens. One such token may hide a sentence that has no spaces.
    """

    tokens: int
    unknown: int = 0
    hidden: int = 0


class TokenCounter(Protocol):
    """Counts tokens as the model's own tokenizer does."""

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text alone, without special tokens and prompt."""

    def inputs(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of the model's input for each text: prompt, text and special tokens, not truncated."""

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Counts the tokens as `inputs` does, and those that the model does not know."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text[char_start:char_end]`, offsets in code points.

    Attributes:
        text: The piece itself.
        char_start: Offset of its first character.
        char_end: Offset after its last character.
        token_count: Tokens of the model's input for it, including prompt and special tokens.
        unknown: How many of them the model does not know.
        hidden: Characters of the piece behind unknown tokens.
        headings: By rules 2, the headings that the piece is under, the outermost first. Those it begins with are among
            them.
        context: What the model sees before the piece, with what separates both; empty for nothing. It is counted too.
    """

    text: str
    char_start: int
    char_end: int
    token_count: int
    unknown: int = 0
    hidden: int = 0
    headings: tuple[str, ...] = ()
    context: str = ""


def chunk_text(text: str, spec: ChunkSpec, counter: TokenCounter, context: str = "") -> list[Chunk]:
    """Cuts a text into chunks that together contain all of it except white space between them.

    Args:
        text: Any text.
        spec: Method and limits, in tokens.
        counter: Counts tokens as the model's tokenizer does.
        context: What the context of each chunk begins with, such as the document's title.

    Returns:
        The chunks in order; none for a blank text. With `structure`, no chunk is longer than `spec.max_tokens`, unless
        it is a single character with more tokens than that.

    Raises:
        InputError: Prompt and special tokens leave no token for text.
    """
    if not text or text.isspace():
        return []
    outline = outline_of(text) if spec.rules > 1 and spec.method == "structure" else None
    above = partial(_above, outline) if HEADINGS in spec.context else None
    contexts = Contexts(context, above, spec.max_tokens // MOST_SHARE, counter.pieces)
    if spec.method == "none":
        before = contexts.at(0, len(text))
        return [_as_chunk((0, len(text)), text, before, counter.read([before + text])[0])]
    overhead = counter.inputs([""])[0]
    if spec.max_tokens <= overhead:
        raise InputError(
            f"max_tokens is {spec.max_tokens}, but prompt and special tokens alone take {overhead}. Raise max_tokens."
        )
    return _fitting(text, spec, overhead + contexts.tokens, counter, outline, contexts)


def _fitting(
    text: str, spec: ChunkSpec, overhead: int, counter: TokenCounter, outline: Outline | None, contexts: Contexts
) -> list[Chunk]:
    """Cuts until every chunk fits, because a chunk may have more tokens than the sum over its atoms."""
    chunks: list[Chunk] = []
    spans = [(0, len(text))]
    most = spec.max_tokens - overhead
    least = max(1, spec.min_tokens - overhead)
    while spans:
        if outline is None:
            spans = [span for start, end in spans for span in _cut(text, start, end, least, most, counter)]
        else:
            spans = [span for start, end in spans for span in _cut_outlined(outline, start, end, least, most, counter)]
        texts = [text[start:end] for start, end in spans]
        before = [contexts.at(*span) for span in spans]
        readings = counter.read([context + text for context, text in zip(before, texts, strict=True)])
        read = list(zip(spans, texts, before, readings, strict=True))
        fits = [reading.tokens <= spec.max_tokens or most == 0 for *_, reading in read]
        chunks += [_as_chunk(*piece, outline) for piece, fit in zip(read, fits, strict=True) if fit]
        spans = [span for (span, *_), fit in zip(read, fits, strict=True) if not fit]
        # At 0 every chunk is a single character, so the loop ends.
        most = most * 3 // 4
        least = max(1, min(least, most // 2))
    return sorted(chunks, key=lambda chunk: chunk.char_start)


def _as_chunk(
    span: tuple[int, int], text: str, context: str, reading: Reading, outline: Outline | None = None
) -> Chunk:
    headings = outline.headings_of(*span) if outline is not None else ()
    return Chunk(text, *span, reading.tokens, reading.unknown, reading.hidden, headings, context)


def _above(outline: Outline | None, start: int, end: int) -> tuple[str, ...]:
    """Returns what stands above a chunk: its headings, and the header row of the table that it begins within."""
    if outline is None:
        return ()
    row = outline.table_header(start)
    return (*outline.headings_of(start, end), *([row] if row else ()))


def _cut(text: str, start: int, end: int, least: int, most: int, counter: TokenCounter) -> Iterable[tuple[int, int]]:
    """Cuts a span of a text into chunks of `least` to `most` tokens, counted atom by atom."""
    atoms, weights = _atoms(text[start:end], most, counter)
    if not atoms:
        return []
    begins, ends = _token_offsets(atoms, weights)
    firsts = _chain(begins, ends, _boundary_keys(text[start:end], atoms), least, most)
    lasts = [first - 1 for first in firsts[1:]] + [len(atoms) - 1]
    return [(start + atoms[i].start, start + atoms[j].end) for i, j in zip(firsts, lasts, strict=True)]


def _cut_outlined(
    outline: Outline, start: int, end: int, least: int, most: int, counter: TokenCounter
) -> Iterable[tuple[int, int]]:
    """Does the same by rules 2: an atom is a sentence, or a block that is kept whole; a heading keeps what follows."""
    atoms, weights = _outlined_atoms(outline, start, end, most, counter)
    if not atoms:
        return []
    begins, ends = _token_offsets(atoms, weights)
    keys = _outlined_keys(outline.text, atoms)
    opens = _groups(atoms, begins, ends, most)
    closes = [first - 1 for first in opens[1:]] + [len(atoms) - 1]
    firsts = _chain([begins[i] for i in opens], [ends[j] for j in closes], keys[opens], least, most)
    lasts = [first - 1 for first in firsts[1:]] + [len(opens) - 1]
    return [(atoms[opens[i]].start, atoms[closes[j]].end) for i, j in zip(firsts, lasts, strict=True)]


def _token_offsets(atoms: Sequence[Atom], weights: Sequence[int]) -> tuple[list[int], list[int]]:
    gaps = [(after.start - before.end) // _CHARACTERS_PER_TOKEN for before, after in pairwise(atoms)]
    ends = list(accumulate(map(sum, zip(weights, [0, *gaps], strict=True))))
    return [end - weight for end, weight in zip(ends, weights, strict=True)], ends


def _groups(atoms: Sequence[Atom], begins: Sequence[int], ends: Sequence[int], most: int) -> list[int]:
    """Returns the index of the first atom of each group that is not cut: headings with what follows them."""
    firsts = [0]
    for index in range(1, len(atoms)):
        held = atoms[index - 1].kind is Kind.HEADING and ends[index] - begins[firsts[-1]] <= most
        if not held:
            firsts.append(index)
    return firsts


def _chain(
    begins: Sequence[int], ends: Sequence[int], keys: npt.NDArray[np.uint64], least: int, most: int
) -> list[int]:
    """Returns the index of the first atom of each chunk."""
    firsts = [0]
    total = ends[-1]
    while True:
        begin = begins[firsts[-1]]
        reach = max(bisect_right(ends, begin + most, lo=firsts[-1]), firsts[-1] + 1)
        if reach == len(ends):
            return firsts
        rest = total - begin
        # If two chunks can share what is left, they do, so that no short third chunk remains. If that narrowed the
        # choice to less than `least`, it would cost more stability than it gains in fill (measured on abstracts and
        # READMEs).
        shortest = max(least, rest - most) if rest + least <= 2 * most else least
        near = bisect_left(ends, begin + shortest, lo=firsts[-1]) + 1
        far = bisect_right(ends, begin + min(most, rest - least), lo=firsts[-1])
        if near > far:
            near = far = reach
        # Take the last of equal keys, so that repetitive text fills its chunks.
        firsts.append(far - int(keys[near : far + 1][::-1].argmax()))


def _atoms(text: str, most: int, counter: TokenCounter) -> tuple[list[Atom], list[int]]:
    """Returns atoms, cut to fit into a chunk if possible, and their weights in tokens."""
    atoms = sentences(text)
    limit = most * _CHARACTERS_PER_TOKEN
    longest = max(1, min(_LONGEST_PIECE, most // 2))
    # Very long atoms are cut before counting, because some tokenizers take more than linear time for a long text.
    atoms = _divided(text, atoms, [atom.end - atom.start > limit for atom in atoms], longest)
    counts: dict[str, int] = {}
    weights = _weights(text, atoms, _ends_before(atoms), counter, counts)
    if max(weights, default=0) <= most:
        return atoms, weights
    atoms = _divided(text, atoms, [weight > most for weight in weights], longest)
    return atoms, _weights(text, atoms, _ends_before(atoms), counter, counts)


def _ends_before(atoms: Sequence[Atom]) -> list[int]:
    return [0, *(atom.end for atom in atoms[:-1])] if atoms else []


def _outlined_atoms(
    outline: Outline, start: int, end: int, most: int, counter: TokenCounter
) -> tuple[list[Atom], list[int]]:
    """Returns the atoms of a span, those that do not fit cut at their own parts, and their weights in tokens."""
    atoms = outline.within(start, end)
    weights: list[int | None] = [None] * len(atoms)
    longest = max(1, min(_LONGEST_PIECE, most // 2))
    counts: dict[str, int] = {}
    while True:
        # Very long atoms are cut before counting, because some tokenizers take more than linear time for a long text.
        too_long = [atom.end - atom.start > most * _CHARACTERS_PER_TOKEN for atom in atoms]
        parts = _all_parts(outline, atoms, too_long, longest)
        if parts is None:
            known = _known_weights(outline.text, atoms, weights, start, counter, counts)
            too_long = [weight > room for weight, room in zip(known, _rooms(atoms, known, most), strict=True)]
            parts = _all_parts(outline, atoms, too_long, longest)
            if parts is None:
                return atoms, known
            weights = list(known)
        weights = [
            None if cut else weight
            for cut, weight, of_atom in zip(too_long, weights, parts, strict=True)
            for _ in of_atom
        ]
        atoms = [part for of_atom in parts for part in of_atom]


def _all_parts(
    outline: Outline, atoms: Sequence[Atom], too_long: Sequence[bool], longest: int
) -> list[list[Atom]] | None:
    """Cuts the atoms that are too long; None if none of them can be cut further."""
    if not any(too_long):
        return None
    marked = zip(atoms, too_long, strict=True)
    parts = [_parts(outline, atom, longest) if cut else [atom] for atom, cut in marked]
    return parts if any(of_atom != [atom] for of_atom, atom in zip(parts, atoms, strict=True)) else None


def _known_weights(
    text: str,
    atoms: Sequence[Atom],
    weights: Sequence[int | None],
    start: int,
    counter: TokenCounter,
    counts: dict[str, int],
) -> list[int]:
    """Fills in the weights that are not known yet."""
    new = [index for index, weight in enumerate(weights) if weight is None]
    before = [atoms[index - 1].end if index else start for index in new]
    counted = iter(_weights(text, [atoms[index] for index in new], before, counter, counts))
    return [next(counted) if weight is None else weight for weight in weights]


def _rooms(atoms: Sequence[Atom], weights: Sequence[int], most: int) -> list[int]:
    """Returns how many tokens each atom may have, so that the headings before it fit beside it."""
    if max(weights, default=0) * 2 <= most:
        return [most] * len(atoms)
    rooms, taken = list[int](), 0
    for atom, weight in zip(atoms, weights, strict=True):
        is_heading = atom.kind is Kind.HEADING
        rooms.append(most if is_heading or taken > most // 2 else most - taken)
        taken = taken + weight if is_heading else 0
    return rooms


def _parts(outline: Outline, atom: Atom, longest: int) -> list[Atom]:
    parts = outline.parts(atom)
    if parts != [atom]:
        return parts
    parts = pieces(outline.text, atom, longest, rules=2)
    return [*parts[:-1], parts[-1]._replace(kind=atom.kind)]


def _divided(text: str, atoms: Sequence[Atom], too_long: Sequence[bool], longest: int) -> list[Atom]:
    marked = zip(atoms, too_long, strict=True)
    return [piece for atom, divide in marked for piece in (pieces(text, atom, longest) if divide else [atom])]


def _weights(
    text: str, atoms: Sequence[Atom], before: Sequence[int], counter: TokenCounter, counts: dict[str, int]
) -> list[int]:
    # In many tokenizers white space is a token or belongs to the next one, so each atom is counted with the space
    # between it and what is before it.
    texts = [text[max(end, atom.start - _LEADING_SPACE) : atom.end] for end, atom in zip(before, atoms, strict=True)]
    new = [atom_text for atom_text in dict.fromkeys(texts) if atom_text not in counts]
    counts.update(zip(new, counter.pieces(new), strict=True))
    by_length = [max(1, (atom.end - atom.start) // _CHARACTERS_PER_TOKEN) for atom in atoms]
    return [max(counts[atom_text], least) for atom_text, least in zip(texts, by_length, strict=True)]


def _boundary_keys(text: str, atoms: Sequence[Atom]) -> npt.NDArray[np.uint64]:
    """Returns a key for the boundary before each atom: its level, then a hash of the atoms on both sides."""
    encoded = [text[atom.start : atom.end].encode("utf-8", "surrogatepass") for atom in atoms]
    digests = {content: blake2b(content, digest_size=8).digest() for content in set(encoded)}
    after = np.frombuffer(b"".join(digests[content] for content in encoded), dtype="<u8")
    return _ranked(np.roll(after, 1), after, atoms)


def _outlined_keys(text: str, atoms: Sequence[Atom]) -> npt.NDArray[np.uint64]:
    """Does the same by rules 2: a hash of the characters on both sides."""
    contents = [text[atom.start : atom.end] for atom in atoms]
    after = _hashes(content[:_REACH] for content in contents)
    return _ranked(np.roll(_hashes(content[-_REACH:] for content in contents), 1), after, atoms)


def _hashes(contents: Iterable[str]) -> npt.NDArray[np.uint64]:
    return np.array([crc32(content.encode("utf-8", "surrogatepass")) for content in contents], np.uint64)


def _ranked(
    before: npt.NDArray[np.uint64], after: npt.NDArray[np.uint64], atoms: Sequence[Atom]
) -> npt.NDArray[np.uint64]:
    mixed = (before * np.uint64(0x9E3779B97F4A7C15)) ^ after
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    levels = np.array([atom.level for atom in atoms], dtype=np.uint64)
    levels <<= np.uint64(56)
    levels |= mixed >> np.uint64(8)
    return levels
