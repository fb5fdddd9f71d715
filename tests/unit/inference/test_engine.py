"""Inference over a window of texts, and the two Spark skins over it, called directly."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.reasons import INVALID_VECTOR, MODEL_ERROR, OUT_OF_MEMORY
from schemas.worker_rows import COUNTED, NAMES, PEAKS, SUMS, inference_schema
from udfs.embed import embed_arrow, embed_udf
from udfs.encoders.fake import NOT_FINITE, RAISES, FakeEncoder
from udfs.encoders.protocol import BackendChoice
from udfs.encoders.tokens import Tokenized
from udfs.inference.engine import embed_texts, embed_windows
from udfs.inference.meter import Meter
from udfs.inference.token_budget import TokenBudget, token_budget
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec, ModelSpec, Precision

CANARY = "canary-7f3a"
DIMENSION = 4


def spec(dimension: int = DIMENSION, max_tokens: int | None = 10, budget: int | None = 100) -> InferenceSpec:
    model = ModelSpec(path="scripted", digest="0", dimension=dimension, max_tokens=max_tokens)
    return InferenceSpec(model=model, token_budget=budget)


class ScriptedEncoder:
    """One token per character, a vector that identifies its text, and a script that may change a batch."""

    def __init__(
        self,
        script: Callable[[Sequence[str], NDArray[np.float32]], NDArray[np.float32] | None],
        dtype: Precision = "float32",
        is_padded: bool = True,
    ) -> None:
        self.device = "cpu"
        self.dtype: Precision = dtype
        self.is_padded = is_padded
        self.is_on_trial = False
        self.choice = BackendChoice(backend="scripted")
        self.script = script
        self.calls: list[list[str]] = []
        self.alone: list[str] = []

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        counts = [len(text) for text in texts]
        return Tokenized(texts, [min(count, 10) for count in counts], counts)

    def forward(self, items: Sequence[str]) -> Callable[[], NDArray[np.float32]]:
        self.calls.append(list(items))
        rows = self._rows(items)
        return lambda: rows

    def exact(self, item: str) -> NDArray[np.float32]:
        self.alone.append(item)
        return self._rows([item])

    def twin(self, spec: InferenceSpec) -> None:
        """There is no other prompt."""

    def _rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
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


def test_no_text_is_blamed_for_a_model_that_cannot_be_loaded_in_float32() -> None:
    class Gone(ScriptedEncoder):
        def exact(self, item: str) -> NDArray[np.float32]:
            raise InputError("the folder changed")

    def not_finite(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        rows[:] = np.nan

    with pytest.raises(InputError, match="the folder changed"):
        embed_texts(Gone(not_finite, dtype="bfloat16"), ["one"], spec())


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


def test_batches_without_padding_hold_the_sum_of_their_texts() -> None:
    encoder = ScriptedEncoder(as_asked, is_padded=False)
    embed_texts(encoder, ["a" * 9, "b", "c" * 5], spec(budget=10))
    assert encoder.calls == [["a" * 9], ["c" * 5, "b"]]


def test_batches_are_formed_by_what_the_model_sees_of_a_text() -> None:
    encoder = ScriptedEncoder(as_asked)
    embed_texts(encoder, ["x" * 1000, "y" * 500], spec(max_tokens=10, budget=20))
    assert encoder.calls == [["x" * 1000, "y" * 500]]


@pytest.mark.parametrize(
    ("budget", "is_padded", "expected"), [(77, True, 77), (77, False, 77), (None, True, 2048), (None, False, 262_144)]
)
def test_the_budget_comes_from_settings_or_suits_the_model(budget: int | None, is_padded: bool, expected: int) -> None:
    encoder = ScriptedEncoder(as_asked, is_padded=is_padded)
    found = token_budget(spec(budget=budget), encoder)
    assert (found.tokens, found.is_chosen) == (expected, budget is not None or not is_padded)
    assert token_budget(spec(budget=budget), encoder) is found


def test_a_gpu_starts_with_a_larger_budget() -> None:
    encoder = ScriptedEncoder(as_asked)
    encoder.device = "cuda:3"
    assert (
        token_budget(spec(budget=None), encoder).tokens
        > token_budget(spec(budget=None), ScriptedEncoder(as_asked)).tokens
    )


def test_windows_come_back_in_order_each_with_its_own_rows() -> None:
    windows = [["bbb", "a"], [], ["cc"], ["a", "dddd", "e"]]
    found = list(embed_windows(ScriptedEncoder(as_asked), iter(windows), spec(), TokenBudget([8]), Meter()))
    assert [result.matrix.tolist() for result in found] == [[row_of(text) for text in texts] for texts in windows]


def test_the_meter_counts_tokens_padding_and_passes() -> None:
    meter = Meter()
    list(embed_windows(ScriptedEncoder(as_asked), iter([["aaaa", "bb"], ["c"]]), spec(), TokenBudget([8]), meter))
    taken = meter.take()
    assert {name: taken[name] for name in ("passes", "tokens", "computed", "retried", "out_of_memory")} == {
        "passes": 2,
        "tokens": 7,
        "computed": 9,
        "retried": 0,
        "out_of_memory": 0,
    }
    assert all(taken[name] >= 0 for name in ("tokenise", "forward", "forward_waited", "collect", "collect_waited"))
    assert not any(meter.take().values())


# Threads


@pytest.mark.timeout(20)
def test_stopping_part_way_leaves_no_thread_behind() -> None:
    read = []

    def endless() -> Iterator[list[str]]:
        try:
            while True:
                read.append("window")
                yield ["text"]
        finally:
            read.append("closed")

    found = embed_windows(ScriptedEncoder(as_asked), endless(), spec(), TokenBudget([8]), Meter())
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert read[-1] == "closed"
    assert [thread for thread in threading.enumerate() if thread.name == "embedlake-stage"] == []


def _reading_fails() -> Iterator[list[str]]:
    yield ["text"]
    raise OSError("the input is gone")


@pytest.mark.timeout(20)
def test_an_input_error_is_raised_after_the_results_before_it() -> None:
    found = embed_windows(ScriptedEncoder(as_asked), _reading_fails(), spec(), TokenBudget([8]), Meter())
    assert next(found).matrix.tolist() == [row_of("text")]
    with pytest.raises(OSError, match="the input is gone"):
        next(found)
    assert [thread for thread in threading.enumerate() if thread.name == "embedlake-stage"] == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("stage", ["tokenize", "result"])
def test_an_error_in_a_stage_reaches_the_caller(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise OSError("no more")

    encoder = ScriptedEncoder(as_asked)
    if stage == "tokenize":
        monkeypatch.setattr(encoder, "tokenize", fails)
    else:
        monkeypatch.setattr(encoder, "forward", lambda items: fails)
    with pytest.raises(OSError, match="no more"):
        embed_texts(encoder, ["text"], spec())
    assert [thread for thread in threading.enumerate() if thread.name == "embedlake-stage"] == []


# Texts that fail


def raises_on_canary(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
    for text in texts:
        if CANARY in text:
            raise ValueError(f"cannot embed {text}")


@pytest.mark.parametrize("place", range(7))
def test_a_text_that_raises_does_not_affect_its_neighbours(place: int) -> None:
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


def test_a_vector_that_is_finite_only_alone_is_computed_alone() -> None:
    def overflows_in_company(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        if len(texts) > 1:
            rows[[text == "second" for text in texts], 2] = np.inf

    encoder = ScriptedEncoder(overflows_in_company)
    found = embed_texts(encoder, ["first", "second", "third"], spec(budget=1000))
    assert encoder.calls == [["second", "first", "third"]]
    assert encoder.alone == ["second"]
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
def test_a_vector_that_is_not_finite_even_alone_is_dropped(value: float, detail: str, company: list[str]) -> None:
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
    with pytest.raises(
        InputError, match=r"for 2 texts of dimension 4, so its files do not match its configuration"
    ) as caught:
        embed_texts(encoder, [CANARY, CANARY], spec())
    assert CANARY not in str(caught.value)


def test_an_interrupt_is_not_blamed_on_a_text() -> None:
    def stops(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_texts(ScriptedEncoder(stops), ["a", "b"], spec())


def test_half_precision_that_overflows_is_computed_again_in_float32() -> None:
    encoder = ScriptedEncoder(as_asked, dtype="float16")
    overflowed = np.full((1, DIMENSION), np.inf, dtype=np.float32)
    encoder.forward = lambda items: lambda: overflowed  # type: ignore[method-assign]
    found = embed_texts(encoder, ["one"], spec())
    assert encoder.alone == ["one"]
    assert found.matrix.tolist() == [row_of("one")]


def test_a_text_that_raises_on_the_second_try_has_its_reason() -> None:
    def script(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        if texts == ["second"]:
            raise ValueError(f"cannot embed {CANARY}")
        rows[[text == "second" for text in texts]] = np.nan

    found = embed_texts(ScriptedEncoder(script), ["first", "second"], spec())
    assert found.reasons == [None, MODEL_ERROR]
    assert found.details[1] == "the model raised ValueError"


# Memory


def needs_memory(limit: int) -> Callable[[Sequence[str], NDArray[np.float32]], None]:
    def script(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        if sum(map(len, texts)) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes")

    return script


def test_a_pass_that_does_not_fit_is_halved_until_it_fits() -> None:
    encoder = ScriptedEncoder(needs_memory(8))
    texts = [f"{number:04d}" for number in range(8)]
    meter = Meter()
    (found,) = embed_windows(encoder, iter([texts]), spec(), TokenBudget([32]), meter)
    assert [len(call) for call in encoder.calls] == [8, 4, 2, 2, 2, 2]
    assert found.matrix.tolist() == [row_of(text) for text in texts]
    assert meter.take()["out_of_memory"] == 2


def test_a_text_that_does_not_fit_even_alone_has_a_reason() -> None:
    found = embed_texts(ScriptedEncoder(needs_memory(6)), ["aaaa", "b" * 9, "cccc"], spec())
    assert found.reasons == [None, OUT_OF_MEMORY, None]
    assert found.details[1] == "it does not fit even alone"
    assert found.matrix.tolist() == [row_of("aaaa"), [0.0] * DIMENSION, row_of("cccc")]


@pytest.mark.timeout(20)
def test_a_lost_device_ends_the_task() -> None:
    def script(texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="the device is lost to this process"):
        embed_texts(ScriptedEncoder(script), ["one", "two"], spec())


WORDS = st.sampled_from(["a", "bb", "ccc dd", "e " * 30, "", RAISES, NOT_FINITE, f"x {NOT_FINITE}", "\U0001f600"])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(texts=st.lists(WORDS, max_size=20), budget=st.integers(1, 300), data=st.data())
def test_the_result_for_a_text_depends_on_that_text_alone(texts: list[str], budget: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    encoder, how = FakeEncoder(8), spec(dimension=8, budget=budget)
    found = embed_texts(encoder, [texts[position] for position in order], how)
    by_text = {text: embed_texts(encoder, [text], how) for text in set(texts)}
    for row, position in enumerate(order):
        alone = by_text[texts[position]]
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
    assert found.schema.names == inference_schema().names
    assert found.schema.types == [
        pa.string(),
        pa.int32(),
        pa.bool_(),
        pa.string(),
        pa.string(),
        pa.list_(pa.float32()),
        pa.struct(
            [(name, pa.float64()) for name in (*SUMS, *PEAKS)]
            + [(name, pa.string()) for name in NAMES]
            + [(name, pa.float64()) for name in COUNTED]
        ),
    ]
    (metered, nothing) = found.column("meter").to_pylist()
    assert nothing is None
    assert [metered[name] for name in ("backend", "backend_note", "torch_rate", "openvino_rate")] == [
        "fake",
        *[None] * 3,
    ]
    assert {name: metered[name] for name in ("passes", "tokens", "device", "dtype", "token_budget")} == {
        "passes": 1,
        "tokens": 6,
        "device": "cpu",
        "dtype": "float32",
        "token_budget": 2048,
    }
    assert metered["peak_mebibytes"] > 1
    found.validate(full=True)


def test_values_outside_the_ranges_are_counted_for_texts_that_have_a_vector() -> None:
    texts = ["one", "two", f"three {NOT_FINITE}"]
    exact = FakeEncoder(8).encode(texts[:2])
    # The failed text has a row of zeros, which these ranges exclude.
    ranges = (tuple((exact.min(axis=0)).tolist()), tuple(exact.max(axis=0).tolist()))
    narrow = (ranges[0], (float(exact[:, 0].min()), *ranges[1][1:]))
    for of_space, expected in ((ranges, 0), (narrow, 1)):
        int8 = InferenceSpec(model=describe_model("fake:8", precision="int8"), ranges=of_space)
        (found,) = embed_arrow(int8)(iter([as_batch(texts)]))
        assert found.column("meter").to_pylist()[0]["clipped"] == expected


def test_arrow_rows_keep_hash_and_vector_together_over_batches() -> None:
    texts = ["one", "two words", "x " * 400, "one", ""]
    batches = [as_batch(texts[:2]), as_batch([]), as_batch(texts[2:], start=2)]
    rows = [row for found in embed_arrow(FAKE)(iter(batches)) for row in found.to_pylist()]
    vectors = FakeEncoder(8).encode(texts).tolist()
    assert [row["text_hash"] for row in rows] == [f"hash {number}" for number in range(5)]
    assert [row["embedding"] for row in rows] == vectors
    assert [row["meter"] is None for row in rows] == [False, True, True, True, True]
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
