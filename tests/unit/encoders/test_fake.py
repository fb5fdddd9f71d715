"""The encoder without torch: deterministic vectors, tokens that can be counted by hand, failures on demand."""

import hashlib
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from udfs.encoders.encoder import load_encoder, release_encoders
from udfs.encoders.fake import NOT_FINITE, RAISES, FakeEncoder, FakeTokenCounter
from udfs.encoders.token_counter import load_token_counter
from udfs.models.source import FAKE_MAX_TOKENS, describe_model, is_fake
from udfs.specs import InferenceSpec, ModelSpec


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        (" \n\t", 0),
        ("one", 1),
        ("one two", 2),
        ("One, two.", 4),
        ("abcdefghijkl", 1),
        ("abcdefghijklm", 2),
        ("a" * 25, 3),
        ("日本語。", 2),
        ("...", 3),
        ("a_b-c", 3),
        ("\U0001f600", 1),
    ],
)
def test_tokens_match_those_counted_by_hand(text: str, tokens: int) -> None:
    assert FakeTokenCounter().pieces([text]) == [tokens]
    assert FakeTokenCounter().inputs([text]) == [tokens + 2]
    assert FakeEncoder(4).tokenize([text]).counts == [tokens + 2]


def test_no_texts() -> None:
    assert FakeTokenCounter().pieces([]) == []
    assert FakeEncoder(4).encode([]).shape == (0, 4)


def test_a_vector_depends_on_the_text_alone() -> None:
    seed = int.from_bytes(hashlib.sha256(b"one").digest()[:8], "big")
    values = np.random.default_rng(seed).standard_normal(4)
    expected = (values / np.linalg.norm(values)).astype(np.float32)
    assert np.array_equal(FakeEncoder(4).encode(["two", "one", "two"])[1], expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts=st.lists(st.text(), min_size=1, max_size=8), dimension=st.integers(1, 64))
def test_equal_texts_have_equal_unit_vectors_and_different_texts_do_not(texts: list[str], dimension: int) -> None:
    rows = FakeEncoder(dimension).encode(texts)
    assert rows.shape == (len(texts), dimension)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    if dimension > 1:
        same = [[np.array_equal(one, other) for other in rows] for one in rows]
        assert same == [[one == other for other in texts] for one in texts]


def test_a_text_can_ask_for_a_vector_that_is_not_finite() -> None:
    rows = FakeEncoder(4).encode(["one", f"a {NOT_FINITE} b", "two"])
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[[0, 2]]).all()


def test_a_text_can_ask_for_a_failure_of_its_batch() -> None:
    with pytest.raises(RuntimeError) as caught:
        FakeEncoder(4).encode(["one", f"canary {RAISES}"])
    assert "canary" not in str(caught.value)


def test_a_fake_model_describes_itself() -> None:
    assert describe_model("fake:8") == ModelSpec(
        path="fake:8",
        digest=hashlib.sha256(b"fake:8").hexdigest(),
        dimension=8,
        max_tokens=FAKE_MAX_TOKENS,
        normalize=True,
    )


@pytest.mark.parametrize(
    "path", ["fake:", "fake:0", "fake:08", "fake:-1", "fake:x", "fake:8 ", "fake:100000", "fake:8\n"]
)
def test_a_fake_model_without_a_dimension_is_refused(path: str) -> None:
    assert is_fake(path)
    with pytest.raises(InputError, match=r"Write fake:<dimension>, such as fake:16"):
        describe_model(path)


@pytest.mark.parametrize("path", ["models/fake", "./fake:8", "owner/fake", "FAKE:8", ""])
def test_other_names_are_not_fake_models(path: str) -> None:
    assert not is_fake(path)


def test_unsupported_options_of_a_fake_model_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        describe_model("fake:8", dimensions=9, normalize=False)
    assert caught.value.faults == (
        "model.dimensions is 9, but the model's vectors have 8 numbers. Ask for fewer.",
        "model.normalize is false, but the model itself scales its vectors. Remove the setting.",
    )


def test_a_fake_model_is_loaded_once_for_equal_descriptions() -> None:
    one = load_encoder(InferenceSpec(model=describe_model("fake:12")))
    assert isinstance(one, FakeEncoder)
    assert load_encoder(InferenceSpec(model=describe_model("fake:12"), token_budget=64), cores=2) is one
    assert load_encoder(InferenceSpec(model=describe_model("fake:12"), role="query")) is one
    assert load_encoder(InferenceSpec(model=describe_model("fake:12", precision="int8"))) is one
    assert load_encoder(InferenceSpec(model=describe_model("fake:12", query_prompt="query: "), role="query")) is not one
    assert load_encoder(InferenceSpec(model=describe_model("fake:12", dimensions=8))) is not one
    assert load_encoder(InferenceSpec(model=describe_model("fake:13"))) is not one


def test_a_process_holds_one_model_and_a_bounded_number_of_its_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    held: weakref.WeakSet[FakeEncoder] = weakref.WeakSet()
    before: list[int] = []
    original = FakeEncoder.__init__

    def counted(self: FakeEncoder, dimension: int, device: str = "auto") -> None:
        before.append(len(held))
        held.add(self)
        original(self, dimension, device)

    monkeypatch.setattr(FakeEncoder, "__init__", counted)
    for model in ("fake:21", "fake:22", "fake:21"):
        load_encoder(InferenceSpec(model=describe_model(model)))
        assert len(held) == 1
    assert before == [0, 0, 0], "a model was loaded beside another"
    for number in range(9):
        asked = describe_model("fake:21", query_prompt=f"{number}: ")
        load_encoder(InferenceSpec(model=asked, role="query"))
    assert len(held) == 4
    release_encoders()
    assert not held


def test_a_fake_model_keeps_the_requested_dimensions() -> None:
    spec = InferenceSpec(model=describe_model("fake:8", dimensions=4))
    rows = load_encoder(spec).forward(["one"])()
    assert rows.shape == (1, 4)
    assert np.isclose(np.linalg.norm(rows), 1, atol=1e-6)


def test_a_fake_model_has_the_fake_token_counter() -> None:
    assert isinstance(load_token_counter(describe_model("fake:8"), ""), FakeTokenCounter)
