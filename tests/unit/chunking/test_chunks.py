"""Chunks of small texts written by hand, and properties of the chunks of any text."""

import json
import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from tests.support.paths import SHARED_DATA
from udfs.chunking.chunks import Chunk, Reading, chunk_text
from udfs.specs import ChunkSpec

NAUGHTY_STRINGS = SHARED_DATA / "bad-input" / "blns" / "blns.json"
SPECIAL_TOKENS = 2


class WordCounter:
    """A token for each mark and for every 8 characters of a word; a model's input has `glue` times as many."""

    def __init__(self, glue: int = 1) -> None:
        self.glue = glue
        self.characters = 0

    def pieces(self, texts: Sequence[str]) -> list[int]:
        self.characters += sum(map(len, texts))
        return [sum((len(word) + 7) // 8 for word in re.findall(r"\w+|[^\w\s]", text)) for text in texts]

    def inputs(self, texts: Sequence[str]) -> list[int]:
        return [count * self.glue + SPECIAL_TOKENS for count in self.pieces(texts)]

    def read(self, texts: Sequence[str]) -> list[Reading]:
        return [Reading(count) for count in self.inputs(texts)]


def structure(max_tokens: int, min_tokens: int | None = None) -> ChunkSpec:
    least = max_tokens // 4 if min_tokens is None else min_tokens
    return ChunkSpec(method="structure", max_tokens=max_tokens, min_tokens=least)


def texts_of(text: str, max_tokens: int, min_tokens: int | None = None) -> list[str]:
    return [chunk.text for chunk in chunk_text(text, structure(max_tokens, min_tokens), WordCounter())]


def assert_sound(text: str, chunks: Sequence[Chunk], spec: ChunkSpec, counter: WordCounter) -> None:
    position = 0
    for chunk in chunks:
        assert text[chunk.char_start : chunk.char_end] == chunk.text
        assert chunk.text == chunk.text.strip() != ""
        assert text[position : chunk.char_start].strip() == "", "lost or overlapping characters"
        assert chunk.token_count == counter.inputs([chunk.text])[0]
        assert chunk.token_count <= spec.max_tokens or len(chunk.text) == 1
        position = chunk.char_end
    assert text[position:].strip() == ""


# In each row every chunk but the last has one boundary of the highest level within its limits, so no hash decides.
@pytest.mark.parametrize(
    ("text", "max_tokens", "expected"),
    [
        pytest.param(
            "Alpha beta gamma.\n\nDelta epsilon.\n\n## Head\n\nZeta eta theta. Iota kappa.",
            16,
            ["Alpha beta gamma.\n\nDelta epsilon.", "## Head\n\nZeta eta theta. Iota kappa."],
            id="a heading beats a paragraph and a sentence, and stays with its text",
        ),
        pytest.param(
            "Alpha beta gamma.\n\nDelta epsilon.\n\nHead\n----\nZeta eta theta. Iota kappa.",
            17,
            ["Alpha beta gamma.\n\nDelta epsilon.", "Head\n----\nZeta eta theta. Iota kappa."],
            id="a title with a rule under it",
        ),
        pytest.param(
            "Alpha beta gamma.\n\nDelta epsilon.\n\n====\nHead\n====\n\nZeta eta. Iota kappa.",
            20,
            ["Alpha beta gamma.\n\nDelta epsilon.", "====\nHead\n====\n\nZeta eta. Iota kappa."],
            id="a title between rules",
        ),
        pytest.param(
            "Run this:\n\n    make\n\nMore text. Alpha beta.\n# a comment\nGamma delta.",
            14,
            ["Run this:\n\n    make", "More text. Alpha beta.\n# a comment\nGamma delta."],
            id="a number sign under a line of text is not a heading",
        ),
        pytest.param(
            "One two. Three four. Five six\n\nSeven eight.",
            12,
            ["One two. Three four. Five six", "Seven eight."],
            id="a paragraph end beats a sentence end",
        ),
        pytest.param(
            "Red fox\r\n\r\nBlue\r\nsky. Green\r\ntea. White snow.",
            12,
            ["Red fox", "Blue\r\nsky. Green\r\ntea. White snow."],
            id="CRLF",
        ),
        pytest.param(
            "One page. It ends\fThe next. It goes.",
            12,
            ["One page. It ends", "The next. It goes."],
            id="a form feed ends a paragraph",
        ),
        pytest.param(
            "- One two. Three\n- Four. Five six",
            8,
            ["- One two. Three", "- Four. Five six"],
            id="a list line beats a sentence end",
        ),
        pytest.param("1. One two. Tri\n2. Four. Six", 8, ["1. One two. Tri", "2. Four. Six"], id="numbered items"),
        pytest.param("| a. B | c |\n| d. E | f |", 10, ["| a. B | c |", "| d. E | f |"], id="table rows"),
        pytest.param("    one = a. B\n    two = c. D", 8, ["one = a. B", "two = c. D"], id="lines of code"),
        pytest.param(
            "One two three\nfour five. Six seven\neight nine ten.",
            11,
            ["One two three\nfour five.", "Six seven\neight nine ten."],
            id="a newline in a hard-wrapped paragraph is not a boundary",
        ),
        pytest.param(
            "See Fig. 3 by J. Smith et al. (2009), e.g. This! Dr. No. 7 left.",
            26,
            ["See Fig. 3 by J. Smith et al. (2009), e.g. This!", "Dr. No. 7 left."],
            id="abbreviations and initials do not end a sentence",
        ),
        pytest.param(
            "He asked: who? me! why not... oh. then \u201cyes!\u201d he left (by car). \u201cOh no!\u201d they said.",
            32,
            [
                "He asked: who? me! why not... oh. then \u201cyes!\u201d he left (by car).",
                "\u201cOh no!\u201d they said.",
            ],
            id="no end before a lower-case letter; a quote closes with its sentence",
        ),
        pytest.param(
            "\u4eca\u65e5\u306f\u3002\u660e\u65e5\uff01\u6628\u65e5\u3002",
            6,
            ["\u4eca\u65e5\u306f\u3002\u660e\u65e5\uff01", "\u6628\u65e5\u3002"],
            id="CJK sentences need no space",
        ),
    ],
)
def test_chunks_are_cut_at_the_strongest_boundary_within_reach(text: str, max_tokens: int, expected: list[str]) -> None:
    assert texts_of(text, max_tokens) == expected


def test_offsets_count_code_points() -> None:
    chunks = chunk_text(" \U0001f600 one. \n\nTwo e\u0301. ", structure(6), WordCounter())
    assert chunks == [Chunk("\U0001f600 one.", 1, 7, 5), Chunk("Two e\u0301.", 10, 17, 6)]


def test_method_none_keeps_the_text_as_it_is() -> None:
    text = "  One two. \n\n Three\n"
    spec = ChunkSpec(method="none", max_tokens=3, min_tokens=1)
    assert chunk_text(text, spec, WordCounter()) == [Chunk(text, 0, len(text), 6)]


@pytest.mark.parametrize("method", ["structure", "none"])
@pytest.mark.parametrize("text", ["", " ", "\n\n\t\r\n", "\f\v\x1c\x85\u2028\u3000"])
def test_blank_text_has_no_chunks(text: str, method: str) -> None:
    spec = ChunkSpec(method=method, max_tokens=8, min_tokens=2)  # type: ignore[arg-type]
    assert chunk_text(text, spec, WordCounter()) == []


def test_a_limit_that_leaves_no_token_for_text_is_refused() -> None:
    with pytest.raises(InputError, match="max_tokens is 2"):
        chunk_text("One.", structure(2), WordCounter())


def test_an_overlong_sentence_is_cut_at_a_newline_before_words() -> None:
    first, second = " ".join(["one"] * 20), " ".join(["two"] * 20)
    assert texts_of(f"{first}\n{second}", 32) == [first, second]


def test_an_overlong_sentence_is_cut_between_words() -> None:
    text = " ".join(f"word{number}" for number in range(200))
    chunks = texts_of(text, 20)
    assert " ".join(chunks) == text
    assert all(part.startswith("word") for part in chunks)


def test_an_overlong_word_is_cut_inside() -> None:
    word = "".join(chr(ord("a") + number * number % 23) for number in range(3000))
    chunks = texts_of(word, 20)
    assert "".join(chunks) == word
    assert len(chunks) >= 3000 / 8 / 18


def test_no_cut_separates_a_character_from_its_marks() -> None:
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467\ufe0f"
    for unit in ("a\u0301\u0323", "\u0e01\u0e33\u0e49", family, "\U0001f44d\U0001f3fd"):
        for part in texts_of(unit * 500, 40):
            assert not unicodedata.category(part[0]).startswith("M"), unit
            assert part[0] not in "\u200d\ufe0f\U0001f3fd", unit
            assert not part.endswith("\u200d"), unit


def test_control_characters_are_kept() -> None:
    assert texts_of("One\x00two.\x00\n\n\x07Three four. Five.", 8) == ["One\x00two.\x00", "\x07Three four. Five."]


def test_the_last_chunk_is_not_shorter_than_min_tokens() -> None:
    for length in range(7, 60):
        text = " ".join(f"Sentence {number} has words." for number in range(length))
        chunks = chunk_text(text, structure(32, 12), WordCounter())
        assert min(chunk.token_count for chunk in chunks) >= 12, length


@pytest.mark.parametrize("glue", [2, 5, 100])
def test_tokens_that_only_whole_inputs_have_are_counted(glue: int) -> None:
    text = "One two three four. Five six seven eight nine ten. " * 20
    counter, spec = WordCounter(glue), structure(32)
    assert_sound(text, chunk_text(text, spec, counter), spec, counter)


# Letters beyond are cut like these, and looking up their kind takes a table of all below them.
CHARACTERS = st.characters(max_codepoint=0x1FFFF, exclude_categories=("Cs",))
MIXED_TEXT = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "\n\n",
                "\n",
                "\r\n",
                " ",
                "# ",
                "## Head\n",
                "- ",
                "1. ",
                "| a |",
                "---\n",
                ". ",
                "! ",
                "\u3002",
                "    ",
                "\f",
                "\0",
            ]
        ),
        st.sampled_from(
            ["Word", "lower", "e\u0301", "\u0301", "\u200d", "\U0001f600", "\u65e5\u672c", "x" * 90, '"', "("]
        ),
        st.text(CHARACTERS, max_size=12),
    ),
    max_size=60,
).map("".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=MIXED_TEXT, max_tokens=st.integers(3, 40), least=st.integers(0, 40), glue=st.integers(1, 3))
def test_chunks_of_any_text_are_sound(text: str, max_tokens: int, least: int, glue: int) -> None:
    counter, spec = WordCounter(glue), structure(max_tokens, min(least, max_tokens))
    chunks = chunk_text(text, spec, counter)
    assert_sound(text, chunks, spec, counter)
    assert bool(chunks) == bool(text.strip())
    assert chunk_text(text, spec, counter) == chunks


@pytest.mark.skipif(not NAUGHTY_STRINGS.exists(), reason=f"{NAUGHTY_STRINGS.name} is not in the data folder")
@pytest.mark.parametrize("max_tokens", [4, 16, 256])
def test_chunks_of_naughty_strings_are_sound(max_tokens: int) -> None:
    strings = json.loads(NAUGHTY_STRINGS.read_text(encoding="utf-8"))
    counter, spec = WordCounter(), structure(max_tokens)
    assert len(strings) > 500
    for text in [*strings, "\n".join(strings), "\ud800 lone surrogate \udfff" * 50]:
        assert_sound(text, chunk_text(text, spec, counter), spec, counter)


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        " ",
        "\n",
        "a. ",
        "A. ",
        "Ab. ",
        "(",
        "[x ",
        "! ",
        "\u201c",
        "a\n",
        "=\n",
        "# a\n\n",
        "- ",
        "\u0301",
        "the fox ",
    ],
)
def test_work_grows_linearly_with_the_length(unit: str) -> None:
    work = []
    for length in (10_000, 100_000):
        counter = WordCounter()
        chunk_text("a" + unit * (length // len(unit)) + "a", structure(64), counter)
        work.append(counter.characters)
    assert work[1] <= 12 * work[0]


def test_work_on_a_text_without_repetition_grows_linearly() -> None:
    work = []
    for length in (10_000, 100_000):
        counter = WordCounter()
        text = "".join(chr(0x4E00 + number * number * 7 % 20_011) for number in range(length))
        chunk_text(text, structure(64), counter)
        work.append(counter.characters)
    assert work[1] <= 12 * work[0]


def test_an_overlong_sentence_does_not_recount_the_rest_of_the_text() -> None:
    text = " ".join(f"Sentence {number} has words." for number in range(2000)) + "\n\n" + "word " * 200
    counter = WordCounter()
    chunk_text(text, structure(64), counter)
    assert counter.characters <= 2.2 * len(text)
