"""From documents to rows of staged chunks."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reasons import BINARY, INVALID_UTF8
from schemas.staged import CUT
from udfs.chunk_documents import chunk_documents, chunk_id, document_chunks
from udfs.encoders.fake import FakeTokenCounter
from udfs.models.source import describe_model
from udfs.specs import ChunkSpec

STRUCTURE = ChunkSpec(method="structure", max_tokens=8, min_tokens=2)
WHOLE = ChunkSpec(method="none", max_tokens=8, min_tokens=2)
# Five tokens and two special ones each: two paragraphs never share a chunk.
FIRST, SECOND, THIRD = "One two three four.", "Five six seven eight.", "Nine ten eleven twelve."


def rows_of(
    text: str, doc_id: str = "doc", chunking: ChunkSpec = STRUCTURE, max_tokens: int | None = 256
) -> list[dict[str, Any]]:
    return document_chunks("library", doc_id, text, chunking, FakeTokenCounter(), max_tokens)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_rows_match_those_written_by_hand() -> None:
    assert rows_of(f"{FIRST}\n\n{SECOND}\n") == [
        {
            "doc_id": "doc",
            "chunk_index": 0,
            "chunk_id": chunk_id("library", "doc", sha256(FIRST), 0),
            "char_start": 0,
            "char_end": 19,
            "text": FIRST,
            "context": None,
            "headings": [],
            "text_hash": sha256(FIRST),
            "token_count": 7,
            "truncated": False,
            "unknown": 0,
            "unread": False,
        },
        {
            "doc_id": "doc",
            "chunk_index": 1,
            "chunk_id": chunk_id("library", "doc", sha256(SECOND), 0),
            "char_start": 21,
            "char_end": 42,
            "text": SECOND,
            "context": None,
            "headings": [],
            "text_hash": sha256(SECOND),
            "token_count": 7,
            "truncated": False,
            "unknown": 0,
            "unread": False,
        },
    ]


def test_chunk_ids_are_stable_across_versions() -> None:
    # Stored tables hold this id.
    found = chunk_id("library", "doc", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0)
    assert found == "71244efa-8590-5d86-89da-dfdb9e40861a"
    assert uuid.UUID(found).version == 5


def test_a_text_that_repeats_itself_has_an_id_for_each_occurrence() -> None:
    rows = rows_of("\n\n".join([FIRST, SECOND, FIRST, FIRST]))
    assert [row["text"] for row in rows] == [FIRST, SECOND, FIRST, FIRST]
    assert [row["chunk_id"] for row in rows] == [
        chunk_id("library", "doc", sha256(FIRST), 0),
        chunk_id("library", "doc", sha256(SECOND), 0),
        chunk_id("library", "doc", sha256(FIRST), 1),
        chunk_id("library", "doc", sha256(FIRST), 2),
    ]
    assert len({row["chunk_id"] for row in rows}) == 4


def test_an_id_does_not_depend_on_the_chunks_beside_it() -> None:
    before = {row["text"]: row["chunk_id"] for row in rows_of("\n\n".join([FIRST, SECOND, THIRD]))}
    after = {row["text"]: row["chunk_id"] for row in rows_of("\n\n".join([THIRD, "A new one here.", FIRST]))}
    assert set(before) & set(after) == {FIRST, THIRD}
    assert all(before[text] == after[text] for text in (FIRST, THIRD))


def test_the_same_text_in_two_documents_or_libraries_has_two_ids() -> None:
    ids = {
        chunk_id(library, doc_id, sha256(FIRST), 0) for library in ("a", "b", "a-b") for doc_id in ("1", "2", "01", "")
    }
    assert len(ids) == 12


# Words of which ids are made that run into one another when they are only strung together.
HOSTILE = st.one_of(
    st.sampled_from(["", '"', '", "', "\\", '\\"', "[", "]", ",", "a", '",0]', "null", "\0", "é"]), st.text()
)
IDENTITY = st.tuples(HOSTILE, HOSTILE, HOSTILE, st.integers(0, 20))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(one=IDENTITY, other=IDENTITY)
def test_ids_are_equal_only_for_equal_identities(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (chunk_id(*one) == chunk_id(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b", "c", 1), ("a", 'b", "c', "", 1)),
        (("a", "b", "c", 12), ("a", "b", "c1", 2)),
        (("ab", "c", "d", 0), ("a", "bc", "d", 0)),
        (("", "a", "", 0), ("a", "", "", 0)),
        (("a", "é", "", 0), ("a", "e\u0301", "", 0)),
        (("a", "\\u00e9", "", 0), ("a", "é", "", 0)),
    ],
)
def test_ids_that_look_alike_differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert chunk_id(*one) != chunk_id(*other)


@pytest.mark.parametrize("chunking", [STRUCTURE, WHOLE])
@pytest.mark.parametrize("text", ["", "  \n", "\u200b\ufeff", "\0\0\0"])
def test_a_blank_document_has_one_row_without_a_chunk(text: str, chunking: ChunkSpec) -> None:
    assert rows_of(text, chunking=chunking) == [{"doc_id": "doc"}]


def test_a_binary_document_has_one_row_with_a_reason() -> None:
    assert rows_of("\x89PNG\0\0\0\0") == [
        {"doc_id": "doc", "reason": BINARY, "detail": "5 of 8 characters are control characters"}
    ]


@pytest.mark.parametrize(("max_tokens", "truncated"), [(6, True), (7, False), (8, False), (None, False)])
def test_a_whole_document_may_be_longer_than_the_model_sees(max_tokens: int | None, truncated: bool) -> None:
    text = f"  {FIRST}\n"
    assert rows_of(text, chunking=WHOLE, max_tokens=max_tokens) == [
        {
            "doc_id": "doc",
            "chunk_index": 0,
            "chunk_id": chunk_id("library", "doc", sha256(text), 0),
            "char_start": 0,
            "char_end": 22,
            "text": text,
            "context": None,
            "headings": None,
            "text_hash": sha256(text),
            "token_count": 7,
            "truncated": truncated,
            "unknown": 0,
            "unread": False,
        }
    ]


TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from([FIRST, SECOND, "\n\n", " ", "\u200b", "x" * 50, "\0", "é"])).map("".join),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=TEXTS, chunking=st.sampled_from([STRUCTURE, WHOLE]))
def test_no_document_goes_missing(text: str, chunking: ChunkSpec) -> None:
    rows = rows_of(text, chunking=chunking)
    assert rows
    assert all(row["doc_id"] == "doc" for row in rows)
    if "chunk_id" not in rows[0]:
        assert len(rows) == 1
        return
    assert [row["chunk_index"] for row in rows] == list(range(len(rows)))
    assert len({row["chunk_id"] for row in rows}) == len(rows)
    for row in rows:
        assert text[row["char_start"] : row["char_end"]] == row["text"]
        assert row["text_hash"] == sha256(row["text"])


# The Arrow function

MODEL = describe_model("fake:8")


def as_batch(documents: dict[str, str | None]) -> pa.RecordBatch:
    """Texts by id; None for one that was refused before."""
    refused = {"reason": INVALID_UTF8, "detail": "the text holds bytes that are not UTF-8"}
    return pa.RecordBatch.from_pydict(
        {
            "doc_id": pa.array(list(documents), pa.string()),
            "text": pa.array(list(documents.values()), pa.string()),
            "context": pa.nulls(len(documents), pa.string()),
            "refused": pa.array(
                [refused if text is None else None for text in documents.values()],
                pa.struct({"reason": pa.string(), "detail": pa.string()}),
            ),
        }
    )


def test_arrow_batches_have_the_columns_of_staged_chunks() -> None:
    documents = {"1": f"{FIRST}\n\n{SECOND}", "2": "", "3": None, '"é': FIRST}
    (found,) = chunk_documents("library", STRUCTURE, MODEL)(iter([as_batch(documents)]))
    kinds = {"string": pa.string(), "int": pa.int32(), "boolean": pa.bool_(), "array<string>": pa.list_(pa.string())}
    assert found.schema.names == [field.name for field in CUT]
    assert found.schema.types == [kinds[field.dataType.simpleString()] for field in CUT]
    rows = found.to_pylist()
    assert [(row["doc_id"], row["chunk_index"], row["text"], row["reason"]) for row in rows] == [
        ("1", 0, FIRST, None),
        ("1", 1, SECOND, None),
        ("2", None, None, None),
        ("3", None, None, INVALID_UTF8),
        ('"é', 0, FIRST, None),
    ]
    # JSON escapes the quote and the accent of this id; the id itself stays as it is.
    assert rows[4]["chunk_id"] == chunk_id("library", json.loads('"\\"\\u00e9"'), sha256(FIRST), 0)


def test_chunks_that_the_model_can_hardly_read_are_told_from_those_with_a_rare_symbol(model_folder: Path) -> None:
    documents = {
        "english": "The owl hunts at night and sleeps in a hollow tree during the day.",
        "symbol": "The owl hunts at night \U0001f989 and sleeps in a hollow tree during the day.",
        "thai": "นกฮูกล่าเหยื่อในเวลากลางคืนและนอนในโพรงไม้ในเวลากลางวันดังนั้นจึงมีคนเห็นไม่มากนัก",
        "chinese": "猫头鹰在夜间捕猎，白天在树洞里睡觉，所以很少有人看到它。",
    }
    whole = ChunkSpec(method="none", max_tokens=256, min_tokens=64)
    (found,) = chunk_documents("library", whole, describe_model(str(model_folder)))(iter([as_batch(documents)]))
    rows = {row["doc_id"]: row for row in found.to_pylist()}
    assert {name: row["unread"] for name, row in rows.items()} == {
        "english": False,
        "symbol": False,
        "thai": True,
        "chinese": True,
    }
    # A whole sentence of Thai is a single token.
    assert (rows["thai"]["token_count"], rows["thai"]["unknown"]) == (3, 1)
    assert (rows["english"]["unknown"], rows["symbol"]["unknown"]) == (0, 1)
    assert rows["chinese"]["unknown"] > 10


def test_arrow_rows_are_those_of_each_document_over_batches() -> None:
    documents = {str(number): "\n\n".join([FIRST] * (number % 3 + 1)) for number in range(3000)}
    names = list(documents)
    batches = [
        as_batch({name: documents[name] for name in names[start : start + 700]}) for start in range(0, 3000, 700)
    ]
    found = list(chunk_documents("library", STRUCTURE, MODEL)(iter(batches)))
    rows = [row for part in found for row in part.to_pylist()]
    assert len(rows) == 6000
    assert [row["doc_id"] for row in rows if row["chunk_index"] == 0] == names
    assert max(part.num_rows for part in found) <= 2_002
    by_hand = [row for name in names for row in rows_of(documents[name], doc_id=name)]
    assert [row["chunk_id"] for row in rows] == [row["chunk_id"] for row in by_hand]


def test_a_context_is_part_of_what_is_hashed_and_not_of_the_text() -> None:
    titled = ChunkSpec(method="structure", max_tokens=STRUCTURE.max_tokens, min_tokens=2, context=("title",))
    (row,) = document_chunks("library", "doc", FIRST, titled, FakeTokenCounter(), 256, "Birds")
    assert (row["context"], row["text"], row["char_start"], row["char_end"]) == ("Birds", FIRST, 0, len(FIRST))
    assert row["text_hash"] == sha256(f"Birds\n\n{FIRST}")
    assert row["chunk_id"] == chunk_id("library", "doc", row["text_hash"], 0)
    assert row["token_count"] == 8


def test_arrow_without_documents_gives_no_batch() -> None:
    assert list(chunk_documents("library", STRUCTURE, MODEL)(iter([as_batch({})]))) == []


def test_executors_with_another_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from schemas.errors import InputError
    from udfs import worker

    function = chunk_documents("library", STRUCTURE, MODEL)
    monkeypatch.setattr(worker, "__version__", "9.9")
    with pytest.raises(InputError, match=r"executors have embedlake 9\.9, but the driver has "):
        list(function(iter([as_batch({"1": FIRST})])))
