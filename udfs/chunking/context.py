"""What the model sees before each chunk: the document's title and the like, and the headings above the chunk."""

from collections.abc import Callable, Sequence

from schemas.context import CONTEXT_END, PART_END

# Of the tokens of a chunk; the rest is for its text.
MOST_SHARE = 4


class Contexts:
    """The contexts of a document's chunks, each ready to be put before a text.

    Args:
        document: What all of them begin with; empty for nothing.
        above: Returns what stands above a chunk, given by its offsets: its headings, outermost first; None if the
            contexts have no headings.
        most: Most tokens of a context; what is longer is cut between words.
        count: Counts the tokens of texts, without special tokens.

    Attributes:
        tokens: Tokens to set aside in each chunk. With headings always the most, because a heading that is edited must
            not move the cuts of its section.
    """

    def __init__(
        self,
        document: str,
        above: Callable[[int, int], tuple[str, ...]] | None,
        most: int,
        count: Callable[[Sequence[str]], list[int]],
    ) -> None:
        self._document, self._most, self._count = document, most, count
        self._above = above
        self._known: dict[tuple[str, ...], str] = {}
        first = self._shortened(()) if above is None else ""
        self.tokens = most if above is not None else count([first])[0] if first else 0

    def at(self, start: int, end: int) -> str:
        """Returns the context of the chunk between two offsets, with what separates it from the text."""
        return self._shortened(self._above(start, end) if self._above is not None else ())

    def _shortened(self, path: tuple[str, ...]) -> str:
        if path not in self._known:
            # Many documents repeat their title as the first heading.
            parts = [part for part in (self._document, *path) if part]
            parts = [part for index, part in enumerate(parts) if index == 0 or part != parts[index - 1]]
            self._known[path] = self._cut(PART_END.join(parts).split(" "))
        return self._known[path]

    def _cut(self, words: Sequence[str]) -> str:
        """Joins as many of the words as fit."""
        few, many = 0, len(words)
        while few < many:
            middle = (few + many + 1) // 2
            few, many = (middle, many) if self._tokens(words[:middle]) <= self._most else (few, middle - 1)
        joined = " ".join(words[:few]).rstrip(" >")
        return joined + CONTEXT_END if joined else ""

    def _tokens(self, words: Sequence[str]) -> int:
        return self._count([" ".join(words) + CONTEXT_END])[0]
