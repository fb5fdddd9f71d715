"""Token counts by a model's own tokenizer, without loading the model."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import Unigram

from udfs.chunking.chunks import Reading, TokenCounter
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
        self._unknown = _unknown_id(tokenizer)

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text alone."""
        return self._counts(texts, False)

    def inputs(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of the model's input for each text, including prompt and special tokens."""
        return self._counts([self._prompt + text for text in texts] if self._prompt else texts, self._special_tokens)

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Counts the tokens as `inputs` does, and those that the model does not know."""
        readings = []
        for batch in tokenizer_batches(texts):
            prompted = [self._prompt + text for text in batch] if self._prompt else batch
            encodings = self._tokenizer.encode_batch_fast(prompted, add_special_tokens=self._special_tokens)
            for text, encoding in zip(batch, encodings, strict=True):
                unknown = encoding.ids.count(self._unknown) if self._unknown is not None else 0
                # Places in the text take much longer to find, and few texts of a suitable library have to ask.
                hidden = self._hidden(text) if unknown else 0
                readings.append(Reading(len(encoding), unknown, hidden))
        return readings

    def _hidden(self, text: str) -> int:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return sum(end - start for token, (start, end) in spans if token == self._unknown)

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


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    if isinstance(tokenizer.model, Unigram):
        # The only kind of model that does not tell, except in its description.
        found = json.loads(tokenizer.to_str())["model"].get("unk_id")
        return int(found) if found is not None else None
    token = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(token) if token is not None else None


def _read_tokenizer(path: Path) -> Tokenizer:
    if path.exists():
        return Tokenizer.from_file(str(path))
    # The folder is older than tokenizer.json; transformers builds the same tokenizer from the vocabulary.
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(path.parent), trust_remote_code=False, local_files_only=True)
    return Tokenizer.from_str(loaded.backend_tokenizer.to_str())
