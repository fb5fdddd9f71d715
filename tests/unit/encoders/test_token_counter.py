"""Counting tokens without loading a model."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Model, Unigram, WordLevel, WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from schemas.errors import InputError
from udfs.chunking.chunks import Reading
from udfs.encoders import tokens
from udfs.encoders.token_counter import FolderTokenCounter, load_token_counter
from udfs.models.source import describe_model
from udfs.specs import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS = ["", " ", "a", "\U0001f600", "tokenization", "[SEP] [CLS]", "日本語の文です。", "river " * 1000, "x" * 500]


def small_counter(prompt: str = "", special_tokens: bool = True) -> FolderTokenCounter:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "one": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return FolderTokenCounter(tokenizer, prompt, special_tokens)


def test_pieces_are_counted_alone_and_inputs_with_all_the_model_is_given() -> None:
    texts = ["one", "", "one two three"]
    assert small_counter().pieces(texts) == [1, 0, 3]
    assert small_counter().inputs(texts) == [3, 2, 5]
    assert small_counter(special_tokens=False).inputs(texts) == [1, 0, 3]
    assert small_counter(prompt="two words: ").inputs(texts) == [6, 5, 8]
    assert small_counter(prompt="two words: ").pieces(texts) == [1, 0, 3]


def test_unknown_tokens_are_counted_with_the_characters_behind_them() -> None:
    texts = ["one", "", "one two one three", "zwölf"]
    expected = [Reading(3), Reading(2), Reading(6, 2, 8), Reading(3, 1, 5)]
    assert small_counter().read(texts) == expected
    assert [reading.tokens for reading in expected] == small_counter().inputs(texts)
    # Of the prompt, tokens are counted as they are in `inputs`, and no characters of the text are.
    assert small_counter(prompt="two: ").read(["one", "two"]) == [Reading(5, 2, 0), Reading(5, 3, 3)]


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (Unigram([("a", -1.0), ("<unk>", -2.0)], unk_id=1), 1),
        (BPE({"a": 0, "<unk>": 1}, [], unk_token="<unk>"), 1),
        (BPE({"a": 0}, []), None),
        (WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"), 0),
    ],
)
def test_the_unknown_token_is_found_for_every_kind_of_tokenizer(model: Model, unknown: int | None) -> None:
    counter = FolderTokenCounter(Tokenizer(model), "", special_tokens=False)
    assert counter._unknown == unknown
    (reading,) = counter.read(["\u0e19"])
    assert reading == (Reading(1, 1, 1) if unknown is not None else Reading(reading.tokens))


def test_no_texts() -> None:
    assert small_counter().pieces([]) == []
    assert small_counter().inputs([]) == []


@pytest.mark.parametrize("characters", [1, 3, 4, 7, 1000])
def test_counts_do_not_depend_on_how_a_list_is_split(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    monkeypatch.setattr(tokens, "_BATCH_CHARACTERS", characters)
    assert small_counter().pieces(["one", "", "one two", "one two three", "one"]) == [1, 0, 2, 3, 1]


@pytest.fixture(scope="module")
def model(model_folder: Path) -> ModelSpec:
    return describe_model(str(model_folder))


@pytest.fixture(scope="module")
def tokenizer(model_folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer as sentence-transformers has it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model_folder), device="cpu", local_files_only=True).tokenizer


@pytest.mark.parametrize("prompt", ["", "passage: "])
def test_inputs_match_the_model_s_own_tokenizer(
    model: ModelSpec, tokenizer: "PreTrainedTokenizerBase", prompt: str
) -> None:
    expected = tokenizer([prompt + text for text in TEXTS], truncation=False, padding=False)["input_ids"]
    assert load_token_counter(model, prompt).inputs(TEXTS) == [len(ids) for ids in expected]


def test_pieces_have_no_special_tokens(model: ModelSpec, tokenizer: "PreTrainedTokenizerBase") -> None:
    expected = tokenizer(TEXTS, truncation=False, padding=False, add_special_tokens=False)["input_ids"]
    assert load_token_counter(model, "passage: ").pieces(TEXTS) == [len(ids) for ids in expected]


def test_the_tokenizer_s_own_truncation_and_padding_are_off(model_folder: Path, model: ModelSpec) -> None:
    stored = json.loads(model_folder.joinpath("tokenizer.json").read_text(encoding="utf-8"))
    assert stored["truncation"]["max_length"] == 128, "this model no longer shows the trap"
    assert stored["padding"] is not None
    counter = load_token_counter(model, "")
    assert counter.inputs(["river " * 1000, "river"]) == [1002, 3]
    assert counter.pieces(["river " * 1000, "river"]) == [1000, 1]


def test_a_tokenizer_that_changes_between_two_loads_is_refused(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    seen = describe_model(str(folder))
    load_token_counter(seen, "")
    stored = folder.joinpath("tokenizer.json")
    stored.write_bytes(stored.read_bytes() + b"\n")
    with pytest.raises(InputError, match="Give every machine the same files"):
        load_token_counter(seen, "")
    shutil.rmtree(folder)


def test_a_folder_that_differs_from_the_driver_s_is_refused(model: ModelSpec) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="the driver saw 000000000000"):
        load_token_counter(replace(model, digest="0" * 64), "")
