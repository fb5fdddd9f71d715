"""What is read from a model folder agrees with sentence-transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.model_folders import (
    MODEL_CONFIG,
    SETTINGS,
    change,
    write,
)
from udfs.models.folder import ModelFolder, inspect_model_folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "passage", "query", ":", "a", "b", "c"]
    write(root / "vocab.txt", "\n".join(words).encode())
    transformers.BertTokenizer(vocab=str(root / "vocab.txt"), model_max_length=48).save_pretrained(root)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    transformers.BertModel(config).save_pretrained(root)
    return root


def assert_agrees(root: Path, modules: tuple[str, ...]) -> ModelFolder:
    from sentence_transformers import SentenceTransformer

    found = inspect_model_folder(root)
    model = SentenceTransformer(str(root), device="cpu")
    limit = model.max_seq_length
    assert found.dimension == model.get_embedding_dimension() == len(model.encode("a b c"))
    assert found.max_tokens == (limit if limit is not None and limit < 2**31 else None)
    assert found.document_prompt == model.prompts["document"]
    assert found.query_prompt == model.prompts["query"]
    assert np.array_equal(model.encode_document("a b"), model.encode(found.document_prompt + "a b"))
    assert np.array_equal(model.encode_query("a b"), model.encode(found.query_prompt + "a b"))
    assert found.modules == tuple(type(module).__name__ for module in model) == modules
    assert found.normalized == bool(
        np.isclose(np.linalg.norm(model.encode(["a", "b", "c a"]), axis=1), 1, atol=1e-5).all()
    )
    return found


@pytest.mark.parametrize("prompts", [None, {"query": "query: ", "document": "passage: "}], ids=["none", "both"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("modes", ["mean", ("cls", "max")], ids=str)
def test_agrees_on_a_pooled_transformer(bert: Path, tmp_path: Path, modes: Any, normalize: bool, prompts: Any) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    parts = [Transformer(str(bert)), Pooling(8, modes)]
    parts += [Dense(8 if modes == "mean" else 16, 6), Normalize()] if normalize else []
    SentenceTransformer(modules=parts, prompts=prompts, device="cpu").save_pretrained(
        str(tmp_path / "m"), create_model_card=False
    )
    names = ("Transformer", "Pooling", "Dense", "Normalize")
    found = assert_agrees(tmp_path / "m", names if normalize else names[:2])
    assert (found.max_tokens, found.document_prompt) == (40, prompts["document"] if prompts else "")


@pytest.mark.parametrize("changes", [
    {MODEL_CONFIG: {"prompts": {"query": "query: ", "passage": "passage: "}}},
    {MODEL_CONFIG: {"prompts": {"passage": "passage: "}}},
    {MODEL_CONFIG: {"truncate_dim": 5}},
    {SETTINGS: {"max_seq_length": 16}},
    {SETTINGS: {"max_seq_length": 16, "tokenizer_args": {"model_max_length": 12}}},
    {"tokenizer_config.json": {"model_max_length": 10**30}},
    {"tokenizer_config.json": {"model_max_length": None}},
], ids=str)  # fmt: skip
def test_agrees_on_changed_settings(bert: Path, tmp_path: Path, changes: dict[str, dict[str, Any]]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    parts = [Transformer(str(bert)), Pooling(8), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(tmp_path / "m"), create_model_card=False)
    for name, fields in changes.items():
        change(tmp_path / "m" / name, **fields)
    assert_agrees(tmp_path / "m", ("Transformer", "Pooling", "Normalize"))


def test_agrees_on_a_plain_transformer(bert: Path) -> None:
    assert assert_agrees(bert, ("Transformer", "Pooling")).pooling == ("mean",)


@pytest.mark.parametrize("prompts", [None, {"query": "query: ", "document": "passage: "}], ids=["none", "both"])
def test_agrees_on_a_static_embedding(bert: Path, tmp_path: Path, prompts: Any) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bert / "tokenizer.json"))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=6)], prompts=prompts, device="cpu")
    model.save_pretrained(str(tmp_path / "m"), create_model_card=False)
    assert assert_agrees(tmp_path / "m", ("StaticEmbedding",)).max_tokens is None


def test_agrees_on_the_real_model(model_folder: Path) -> None:
    assert_agrees(model_folder, ("Transformer", "Pooling", "Normalize"))
