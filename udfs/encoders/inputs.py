"""The padded input of a model, described in a few words so that it can be built without the model's library."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from udfs.encoders.distinct_words import distinct_words
from udfs.encoders.tokens import TextTokenizer

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """How texts become the padded input of a model.

    Attributes:
        pad_id: The token for padding.
        token_type_ids: Whether the model takes a segment number for each token; a text is a single segment.
        pads_left: Whether padding goes before the first token of a text.
        keeps_end: Whether truncation removes the beginning of a text instead of its end.
        by_words: Whether each distinct word is tokenized once.
    """

    pad_id: int
    token_type_ids: bool
    pads_left: bool
    keeps_end: bool
    by_words: bool

    def tokenizer(self, tokenizer: Tokenizer, prompt: str, limit: int | None) -> TextTokenizer:
        """Creates what reads texts, from a tokenizer without truncation and padding, for one prompt and limit."""
        by_words = distinct_words(tokenizer) if self.by_words else None
        return TextTokenizer(tokenizer, prompt, True, limit, self.keeps_end, by_words)

    def features(self, rows: Sequence[Ids]) -> dict[str, NDArray[np.int64]]:
        """Pads the token ids of a batch to its longest row; returns the model's inputs by name."""
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            columns = slice(width - len(row), width) if self.pads_left else slice(0, len(row))
            ids[index, columns] = row
            mask[index, columns] = 1
        features = {"input_ids": ids, "attention_mask": mask}
        return features | ({"token_type_ids": np.zeros_like(ids)} if self.token_type_ids else {})


def plain_tokenizer(description: str) -> Tokenizer:
    """Creates a tokenizer from its JSON, without truncation and padding."""
    tokenizer = Tokenizer.from_str(description)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
