"""Token counts by a model's own tokenizer, without loading the model."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from udfs.chunking.chunks import TokenCounter
from udfs.encoders.fake import FakeTokenCounter
from udfs.encoders.tokens import tokenizer_batches
from udfs.models.source import is_fake, verified_folder
from udfs.specs import ModelSpec


class FolderTokenCounter:
    """Counts with the tokenizer of a model folder.

    Args:
        tokenizer: The tokenizer, without truncation and padding.
        prompt: Text put before each text.
        special_tokens: Whether the model adds special tokens; static models do not.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: str, special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._special_tokens = special_tokens

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text alone."""
        return self._counts(texts, False)

    def inputs(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of the model's input for each text, including prompt and special tokens."""
        return self._counts([self._prompt + text for text in texts] if self._prompt else texts, self._special_tokens)

    def _counts(self, texts: Sequence[str], special_tokens: bool) -> list[int]:
        counts: list[int] = []
        for batch in tokenizer_batches(texts):
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=special_tokens)
            counts.extend(len(encoding) for encoding in encodings)
        return counts


def load_token_counter(model: ModelSpec, prompt: str) -> TokenCounter:
    """Loads a model's tokenizer.

    Args:
        model: The model's description.
        prompt: Text put before each text.

    Returns:
        A counter with the same counts as the model's own preprocessing without truncation.

    Raises:
        InputError: The folder differs from the one on the driver.
    """
    if is_fake(model.path):
        return FakeTokenCounter()
    with verified_folder(model) as folder:
        tokenizer = _read_tokenizer(Path(folder.root) / folder.tokenizer_folder / "tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return FolderTokenCounter(tokenizer, prompt, special_tokens=folder.modules[0] != "StaticEmbedding")


def _read_tokenizer(path: Path) -> Tokenizer:
    if path.exists():
        return Tokenizer.from_file(str(path))
    # The folder is older than tokenizer.json; transformers builds the same tokenizer from the vocabulary.
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(path.parent), trust_remote_code=False, local_files_only=True)
    return Tokenizer.from_str(loaded.backend_tokenizer.to_str())
