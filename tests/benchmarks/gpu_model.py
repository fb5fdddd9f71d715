"""A large model for the benchmark on a GPU: BERT-large with random weights, which cost as much as trained ones."""

import json
import shutil
from pathlib import Path

import torch


def write_large_model(folder: Path, like: Path, device: str, layers: int = 24) -> Path:
    """Writes a model of 335 million parameters with the tokenizer and the pooling of another one.

    Args:
        folder: Where the model goes; must exist.
        like: The folder of a BERT model.
        device: Where the weights are drawn.
        layers: How many; fewer for a trial.

    Returns:
        The model's folder.
    """
    from transformers import BertConfig, BertModel

    target = folder / "bert-large"
    shutil.copytree(like, target, ignore=shutil.ignore_patterns("model.safetensors", "README.md", ".*"))
    torch.manual_seed(0)
    config = BertConfig(hidden_size=1024, num_hidden_layers=layers, num_attention_heads=16, intermediate_size=4096)
    with torch.device(device):
        model = BertModel(config)
    model.save_pretrained(target)
    for name, changes in {
        "1_Pooling/config.json": {"word_embedding_dimension": 1024},
        "sentence_bert_config.json": {"max_seq_length": 512},
    }.items():
        path = target / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target
