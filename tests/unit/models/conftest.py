"""Model folders that tests change."""

from pathlib import Path

import pytest

from tests.support.model_folders import NEW, OLD, entry, tensor_file, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Transformer with Pooling and Normalize, in the layout that most published models have."""
    root = tmp_path / "model"
    write(
        root / "config.json",
        {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8, "max_position_embeddings": 64},
    )
    write(root / "tokenizer.json", {"version": "1.0", "truncation": None, "model": {"vocab": {"auto_map": 0}}})
    write(
        root / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "model_max_length": 512, "name_or_path": "owner/name"},
    )
    write(root / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    write(root / "1_Pooling/config.json", {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True})
    write(
        root / "modules.json",
        [
            entry(OLD + "Transformer", "", "0"),
            entry(OLD + "Pooling", "1_Pooling", "1"),
            entry(OLD + "Normalize", "2_Normalize", "2"),
        ],
    )
    tensor_file(root / "model.safetensors", **{"embeddings.weight": (16, 8)})
    write(root / "README.md", b"# A model")
    write(root / ".gitattributes", b"*.safetensors filter=lfs")
    write(root / "LICENSE", b"free")
    return root


@pytest.fixture
def static(tmp_path: Path) -> Path:
    root = tmp_path / "static"
    write(root / "modules.json", [entry(NEW + "static_embedding.StaticEmbedding", "")])
    write(root / "tokenizer.json", {"truncation": None, "model": {}})
    tensor_file(root / "model.safetensors", **{"embedding.weight": (16, 5)})
    return root
