"""Inference over a window of texts, and the two Spark skins over it, called by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.reasons import INVALID_VECTOR, MODEL_ERROR
from schemas.staged_vectors import STAGED_VECTORS
from udfs.embed import embed_arrow, embed_udf
from udfs.encoder_fake import NOT_FINITE, RAISES, FakeEncoder
from udfs.engine import embed_texts, token_budget
from udfs.model_source import describe_model
from udfs.specs import InferenceSpec, ModelSpec

CANARY = "canary-7f3a"
DIMENSION = 4


def spec(dimension: int = DIMENSION, max_tokens: int | None = 10, budget: int | None = 100) -> InferenceSpec:
    model = ModelSpec(path="scripted", digest="0", dimension=dimension, max_tokens=max_tokens)
    return InferenceSpec(model=model, token_budget=budget)


class ScriptedEncoder:
    """A token for each character; a vector that tells its text; and whatever a script makes of a batch."""

    def __init__(self, script: Callable[[Sequence[str], NDArray[np.float32]], NDArray[np.float32] | None]) -> None:
        self.device = "cpu"
        self.script = script
        self.calls: list[list[str]] = []

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        rows = np.array([row_of(text) for text in texts], dtype=np.float32)
        changed = self.script(texts, rows)
        return rows if changed is None else changed


def row_of(text: str) -> list[float]:
    return [len(text) + 1.0, float(sum(map(ord, text)) % 1009), 1.0, 0.5]


def as_asked(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
    """Leave the vectors as they are."""


def test_each_text_gets_its_own_vector_in_the_order_they_came() -> None:
    texts = ["bbb", "a", "cccccc", "", "dd", "a"]
    encoder = ScriptedEncoder(as_asked)
    found = embed_texts(encoder, texts, spec(budget=8))
    assert encoder.calls == [["cccccc"], ["bbb", "dd"], ["a", "a", ""]]
    assert found.matrix.tolist() == [row_of(text) for text in texts]
    assert found.matrix.dtype == np.float32
    assert found.token_counts.tolist() == [3, 1, 6, 0, 2, 1]
    assert found.token_counts.dtype == np.int32
    assert found.reasons == [None] * 6
    assert found.details == [None] * 6


def test_no_texts() -> None:
    encoder = ScriptedEncoder(as_asked)
    found = embed_texts(encoder, [], spec())
    assert encoder.calls == []
    assert found.matrix.shape == (0, DIMENSION)
    assert (found.token_counts.shape, found.truncated.shape) == ((0,), (0,))
    assert (found.reasons, found.details) == ([], [])


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [(9, [False, True, True]), (10, [False, False, True]), (11, [False, False, False]), (None, [False, False, False])],
)
def test_truncated_is_what_is_longer_than_the_model_sees(max_tokens: int | None, expected: list[bool]) -> None:
    found = embed_texts(ScriptedEncoder(as_asked), ["x" * 9, "x" * 10, "x" * 11], spec(max_tokens=max_tokens))
    assert found.truncated.tolist() == expected
    assert found.token_counts.tolist() == [9, 10, 11]


def test_batches_are_formed_by_what_the_model_sees_of_a_text() -> None:
    encoder = ScriptedEncoder(as_asked)
    embed_texts(encoder, ["x" * 1000, "y" * 500], spec(max_tokens=10, budget=20))
    assert encoder.calls == [["x" * 1000, "y" * 500]]


@pytest.mark.parametrize(
    ("budget", "device", "expected"),
    [(None, "cpu", 2048), (None, "cuda", 32_768), (None, "cuda:3", 32_768), (77, "cpu", 77), (77, "cuda:0", 77)],
)
def test_the_budget_is_the_settings_or_suits_the_device(budget: int | None, device: str, expected: int) -> None:
    assert token_budget(spec(budget=budget), device) == expected


# Texts that fail


def raises_on_canary(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
    for text in texts:
        if CANARY in text:
            raise ValueError(f"cannot embed {text}")


@pytest.mark.parametrize("place", range(7))
def test_a_text_that_raises_does_not_take_its_neighbours_along(place: int) -> None:
    texts = [f"text {number:020d}" for number in range(7)]
    texts[place] = f"fail {CANARY}"
    encoder = ScriptedEncoder(raises_on_canary)
    found = embed_texts(encoder, texts, spec(budget=1000))
    for number, text in enumerate(texts):
        if number == place:
            assert found.reasons[number] == MODEL_ERROR
            assert found.details[number] == "the model raised ValueError"
            assert not found.matrix[number].any()
        else:
            assert found.reasons[number] is None
            assert found.matrix[number].tolist() == row_of(text)
    assert CANARY not in repr(found)


def test_when_every_text_raises_every_text_has_its_reason() -> None:
    texts = [f"{CANARY} {number}" for number in range(5)]
    found = embed_texts(ScriptedEncoder(raises_on_canary), texts, spec(budget=1000))
    assert found.reasons == [MODEL_ERROR] * 5
    assert not found.matrix.any()
    assert CANARY not in repr(found)


def test_a_vector_that_is_finite_only_alone_is_made_alone() -> None:
    def overflows_in_company(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        if len(texts) > 1:
            rows[[text == "second" for text in texts], 2] = np.inf

    encoder = ScriptedEncoder(overflows_in_company)
    found = embed_texts(encoder, ["first", "second", "third"], spec(budget=1000))
    assert encoder.calls == [["second", "first", "third"], ["second"]]
    assert found.reasons == [None, None, None]
    assert found.matrix.tolist() == [row_of("first"), row_of("second"), row_of("third")]


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (np.nan, "the vector is not finite"),
        (np.inf, "the vector is not finite"),
        (-np.inf, "the vector is not finite"),
        (0.0, "the vector is zero"),
        (-0.0, "the vector is zero"),
    ],
)
@pytest.mark.parametrize("company", [[], ["good one", "good two"]])
def test_a_vector_that_is_useless_even_alone_is_not_kept(value: float, detail: str, company: list[str]) -> None:
    def spoils_canary(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        rows[[CANARY in text for text in texts]] = value

    texts = [*company, CANARY]
    found = embed_texts(ScriptedEncoder(spoils_canary), texts, spec(budget=1000))
    assert found.reasons == [None] * len(company) + [INVALID_VECTOR]
    assert found.details[-1] == detail
    assert found.matrix.tolist() == [*(row_of(text) for text in company), [0.0] * DIMENSION]
    assert CANARY not in repr(found)


def test_one_number_that_is_not_finite_spoils_a_vector() -> None:
    def spoils_one(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        rows[:, 3] = np.nan

    assert embed_texts(ScriptedEncoder(spoils_one), ["x"], spec()).reasons == [INVALID_VECTOR]


@pytest.mark.parametrize(
    "reshape",
    [
        pytest.param(lambda rows: rows[:, :3], id="too few numbers"),
        pytest.param(lambda rows: rows[:1], id="too few rows"),
        pytest.param(lambda rows: np.vstack([rows, rows]), id="too many rows"),
        pytest.param(lambda rows: rows[0], id="one axis"),
        pytest.param(lambda rows: rows[:, :, None], id="three axes"),
    ],
)
def test_a_matrix_of_the_wrong_shape_stops_everything(
    reshape: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> None:
    encoder = ScriptedEncoder(lambda texts, rows: reshape(rows))
    with pytest.raises(InputError, match=r"for 2 texts of dimension 4: .* do not belong together") as caught:
        embed_texts(encoder, [CANARY, CANARY], spec())
    assert CANARY not in str(caught.value)


def test_stopping_the_process_is_no_fault_of_a_text() -> None:
    def stops(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_texts(ScriptedEncoder(stops), ["a", "b"], spec())


WORDS = st.sampled_from(["a", "bb", "ccc dd", "e " * 30, "", RAISES, NOT_FINITE, f"x {NOT_FINITE}", "\U0001f600"])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(texts=st.lists(WORDS, max_size=20), budget=st.integers(1, 300), data=st.data())
def test_what_becomes_of_a_text_depends_on_nothing_but_the_text(
    texts: list[str], budget: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    encoder, how = FakeEncoder(8), spec(dimension=8, budget=budget)
    found = embed_texts(encoder, [texts[position] for position in order], how)
    for row, position in enumerate(order):
        alone = embed_texts(encoder, [texts[position]], how)
        assert np.array_equal(found.matrix[row], alone.matrix[0])
        assert found.reasons[row] == alone.reasons[0]
        assert found.details[row] == alone.details[0]
        assert found.token_counts[row] == alone.token_counts[0]
        assert (found.reasons[row] is None) == (RAISES not in texts[position] and NOT_FINITE not in texts[position])


# The Arrow skin

FAKE = InferenceSpec(model=describe_model("fake:8"))
INPUT = pa.schema([("text_hash", pa.string()), ("text", pa.string())])


def as_batch(texts: Sequence[str], start: int = 0) -> pa.RecordBatch:
    hashes = [f"hash {start + number}" for number in range(len(texts))]
    return pa.RecordBatch.from_arrays([pa.array(hashes, pa.string()), pa.array(texts, pa.string())], schema=INPUT)


def test_arrow_batches_have_the_columns_of_staged_vectors() -> None:
    (found,) = embed_arrow(FAKE)(iter([as_batch(["one", "two"])]))
    assert found.schema.names == STAGED_VECTORS.schema.names
    assert found.schema.types == [
        pa.string(),
        pa.int32(),
        pa.bool_(),
        pa.string(),
        pa.string(),
        pa.list_(pa.float32()),
    ]
    found.validate(full=True)


def test_arrow_rows_keep_hash_and_vector_together_over_batches() -> None:
    texts = ["one", "two words", "x " * 400, "one", ""]
    batches = [as_batch(texts[:2]), as_batch([]), as_batch(texts[2:], start=2)]
    rows = [row for found in embed_arrow(FAKE)(iter(batches)) for row in found.to_pylist()]
    vectors = FakeEncoder(8).encode(texts).tolist()
    assert [row["text_hash"] for row in rows] == [f"hash {number}" for number in range(5)]
    assert [row["embedding"] for row in rows] == vectors
    assert [row["token_count"] for row in rows] == [3, 4, 402, 3, 2]
    assert [row["truncated"] for row in rows] == [False, False, True, False, False]
    assert all(row["reason"] is None and row["detail"] is None for row in rows)


def test_arrow_embeddings_are_null_where_there_is_a_reason() -> None:
    texts = ["one", f"{CANARY} {RAISES}", "two", f"{CANARY} {NOT_FINITE}", "three"]
    (found,) = embed_arrow(FAKE)(iter([as_batch(texts)]))
    found.validate(full=True)
    rows = found.to_pylist()
    assert [row["reason"] for row in rows] == [None, MODEL_ERROR, None, INVALID_VECTOR, None]
    assert [row["detail"] for row in rows] == [
        None,
        "the model raised RuntimeError",
        None,
        "the vector is not finite",
        None,
    ]
    vectors = FakeEncoder(8).encode(["one", "two", "three"]).tolist()
    assert [row["embedding"] for row in rows] == [vectors[0], None, vectors[1], None, vectors[2]]
    assert found.column("embedding").null_count == 2
    assert CANARY not in repr(rows)


def test_arrow_embeddings_are_one_flat_buffer() -> None:
    texts = ["one", RAISES, "two"]
    (found,) = embed_arrow(FAKE)(iter([as_batch(texts)]))
    matrix = embed_texts(FakeEncoder(8), texts, FAKE).matrix
    embedding = found.column("embedding")
    assert embedding.offsets.to_pylist() == [0, 8, 16, 24]
    assert np.array_equal(embedding.values.to_numpy(zero_copy_only=True), matrix.reshape(-1))


def test_arrow_without_rows_gives_no_batch() -> None:
    assert list(embed_arrow(FAKE)(iter([]))) == []
    assert list(embed_arrow(FAKE)(iter([as_batch([])]))) == []


# The pandas skin


def test_a_udf_gives_null_for_null_blank_and_failing_texts() -> None:
    column = embed_udf(FAKE).func  # type: ignore[attr-defined]
    texts = ["one", None, "", " \n", "\u200b\ufeff", RAISES, NOT_FINITE, float("nan"), "two"]
    first, second, third = column(iter([pd.Series(texts, index=range(5, 14)), pd.Series(["one"]), pd.Series([])]))
    one, two = FakeEncoder(8).encode(["one", "two"]).tolist()
    found = [None if row is None else row.tolist() for row in first]
    assert found == [one, *[None] * 7, two]
    assert [row.tolist() for row in second] == [one]
    assert len(third) == 0
