"""Contexts: within their share of the tokens, cut between words, and those of a title or heading alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.chunking.chunks import chunk_text
from udfs.chunking.context import Contexts
from udfs.encoders.fake import FakeTokenCounter
from udfs.specs import ChunkSpec

COUNTER = FakeTokenCounter()
SPEC = ChunkSpec(method="structure", max_tokens=40, min_tokens=10, context=("title",))
TEXT = " ".join(f"Sentence {number} is about owls." for number in range(40))
PATHS = [(0, ("Birds",)), (100, ("Birds", "Owls")), (200, ("Birds", "Owls", "Food"))]


def contexts(document: str, headings: list[tuple[int, tuple[str, ...]]] | None = None) -> Contexts:
    def above(start: int, _: int) -> tuple[str, ...]:
        return next((path for first, path in reversed(headings or []) if first <= start), ())

    return Contexts(document, above if headings is not None else None, 10, COUNTER.pieces)


def test_a_title_stands_before_every_chunk_and_is_counted() -> None:
    chunks = chunk_text(TEXT, SPEC, COUNTER, "A Book of Birds")
    assert len(chunks) > 5
    assert {chunk.context for chunk in chunks} == {"A Book of Birds\n\n"}
    for chunk in chunks:
        assert chunk.text == TEXT[chunk.char_start : chunk.char_end]
        assert chunk.token_count == COUNTER.inputs([chunk.context + chunk.text])[0] <= SPEC.max_tokens


GUIDE = """# Birds

Birds have feathers. Birds lay eggs. Birds have a beak without teeth. Most birds can fly.

## Owls

Owls hunt at night. Owls turn their heads. Owls eat mice and voles. Owls nest in hollow trees.

| owl | size in centimetres | food |
| --- | --- | --- |
| tawny owl | 40 | mice, voles and frogs |
| eagle owl | 70 | rabbits, hares and foxes |
| little owl | 22 | beetles, worms and mice |
| snowy owl | 60 | lemmings, hares and ducks |
| barn owl | 35 | voles, shrews and mice |
"""


def test_headings_and_the_header_of_a_table_stand_before_chunks() -> None:
    spec = ChunkSpec(method="structure", max_tokens=60, min_tokens=10, context=("headings",))
    chunks = chunk_text(GUIDE, spec, COUNTER)
    for chunk in chunks:
        assert chunk.text == GUIDE[chunk.char_start : chunk.char_end]
        assert chunk.token_count == COUNTER.inputs([chunk.context + chunk.text])[0] <= spec.max_tokens
    found = {chunk.context for chunk in chunks}
    assert {"Birds\n\n", "Birds > Owls\n\n"} <= found
    inside = [chunk for chunk in chunks if chunk.text.startswith("| eagle") or chunk.text.startswith("| little")]
    assert all("| owl | size in centimetres" in chunk.context for chunk in inside) and inside


def test_an_edited_heading_changes_the_chunks_of_its_section_alone() -> None:
    spec = ChunkSpec(method="structure", max_tokens=40, min_tokens=10, context=("headings",))
    before = chunk_text(GUIDE, spec, COUNTER)
    after = chunk_text(GUIDE.replace("## Owls", "## Hunters of the night"), spec, COUNTER)
    kept = {(chunk.context, chunk.text) for chunk in after} & {(chunk.context, chunk.text) for chunk in before}
    assert kept == {(chunk.context, chunk.text) for chunk in before if "Owls" not in chunk.context}
    assert kept


def test_a_document_without_a_title_is_cut_as_without_contexts() -> None:
    plain = ChunkSpec(method="structure", max_tokens=40, min_tokens=10)
    assert chunk_text(TEXT, SPEC, COUNTER) == chunk_text(TEXT, plain, COUNTER)


def test_a_whole_document_has_its_context_too() -> None:
    whole = ChunkSpec(method="none", max_tokens=40, min_tokens=10, context=("title",))
    (chunk,) = chunk_text("Owls hunt.", whole, COUNTER, "Birds")
    assert (chunk.context, chunk.text) == ("Birds\n\n", "Owls hunt.")
    assert chunk.token_count == COUNTER.inputs(["Birds\n\nOwls hunt."])[0]


@pytest.mark.parametrize(
    ("document", "start", "expected"),
    [
        ("A Book", 0, "A Book > Birds\n\n"),
        ("A Book", 99, "A Book > Birds\n\n"),
        ("A Book", 100, "A Book > Birds > Owls\n\n"),
        ("", 250, "Birds > Owls > Food\n\n"),
        # A title that is the first heading too is said once.
        ("Birds", 150, "Birds > Owls\n\n"),
    ],
)
def test_headings_are_those_above_the_chunk(document: str, start: int, expected: str) -> None:
    assert contexts(document, PATHS).at(start, start + 1) == expected


def test_before_the_first_heading_there_is_only_the_title() -> None:
    found = contexts("A Book", [(50, ("Birds",))])
    assert (found.at(49, 50), found.at(50, 51)) == ("A Book\n\n", "A Book > Birds\n\n")
    assert contexts("", [(50, ("Birds",))]).at(0, 1) == ""


def test_headings_take_the_same_share_whatever_they_are() -> None:
    assert contexts("", PATHS).tokens == contexts("A Book", [(0, ("x" * 500,))]).tokens == 10
    assert contexts("A Book").tokens == COUNTER.pieces(["A Book\n\n"])[0]
    assert contexts("").tokens == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(words=st.lists(st.text("abc é", min_size=1, max_size=12).map(str.strip).filter(bool), max_size=60))
def test_a_long_context_is_cut_between_words(words: list[str]) -> None:
    document = " ".join(" ".join(words).split())
    found = contexts(document).at(0, 1)
    shown = found.removesuffix("\n\n")
    assert document.startswith(shown) and (shown == document or not shown or document[len(shown)] == " ")
    assert not found or COUNTER.pieces([found])[0] <= 10
    kept = len(shown.split())
    # One more word would be too many.
    longer = " ".join(document.split()[: kept + 1])
    assert shown == document or COUNTER.pieces([longer + "\n\n"])[0] > 10
