"""Ways to embed texts on a GPU, and forward passes alone as the most that any of them can reach."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from udfs.encoders.encoder import Encoder
from udfs.encoders.model_inputs import read_and_build
from udfs.encoders.sentence import SentenceEncoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.engine import embed_windows
from udfs.inference.meter import Meter
from udfs.inference.passes import fitting, longest_first
from udfs.inference.prefetch import windows
from udfs.inference.token_budget import TokenBudget, token_budget
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

Matrix = NDArray[np.float32]
_BATCHES = (64, 128, 256, 512, 1024)
# Sizes of bare passes; float32 is slower, and fewer of them are tried.
_BUDGETS = {True: (32_768, 65_536, 131_072, 262_144), False: (16_384, 32_768, 65_536)}
# Rows of a batch from Spark: spark.sql.execution.arrow.maxRecordsPerBatch in conf/spark-gpu.conf.
_ARROW_ROWS = 8192
# Texts for finding the best batch size of a contender.
PROBE = int(os.environ.get("BENCH_GPU_PROBE", "2048"))


class Contender(Protocol):
    """Something that embeds texts.

    Attributes:
        name: What it is called in the results.
        how: Its settings in words.
        share: How much longer it runs than others, because its first and last seconds are not like the rest.
    """

    name: str
    how: str
    share: float

    def warm_up(self, texts: Sequence[str]) -> None:
        """Loads, compiles and finds settings, which does not count."""

    def run(self, texts: Sequence[str]) -> None:
        """Embeds texts."""

    def take(self, texts: Sequence[str]) -> None:
        """Keeps the texts of every round, with what it may prepare of them."""

    def again(self) -> None:
        """Embeds the texts of every round."""


class Whole:
    """A contender that prepares nothing."""

    name: str
    how: str
    share = 1.0

    def embed(self, texts: Sequence[str]) -> Matrix:
        raise NotImplementedError

    def warm_up(self, texts: Sequence[str]) -> None:
        self.embed(texts[:PROBE])

    def run(self, texts: Sequence[str]) -> None:
        self.embed(texts)

    def take(self, texts: Sequence[str]) -> None:
        self._taken = texts

    def again(self) -> None:
        self.run(self._taken)


class Engine(Whole):
    """The engine as the Spark function calls it: batches of Arrow, regrouped to windows."""

    share = 3.0

    def __init__(self, name: str, folder: Path, dtype: Any, device: str) -> None:
        self.name = name
        self.spec = InferenceSpec(model=describe_model(str(folder)), device=device, dtype=dtype)
        self.encoder: Encoder = SentenceEncoder(self.spec, torch.get_num_threads())
        self.budget: TokenBudget = token_budget(self.spec, self.encoder)
        self.meter = Meter()

    @property
    def how(self) -> str:
        padding = "with padding" if self.encoder.is_padded else "without padding"
        return f"{self.encoder.dtype}, {padding}, passes of up to {self.budget.tokens} tokens"

    def embed(self, texts: Sequence[str]) -> Matrix:
        found = list(embed_windows(self.encoder, _windows(texts), self.spec, self.budget, self.meter))
        assert not any(reason for part in found for reason in part.reasons)
        return np.concatenate([part.matrix for part in found])

    def warm_up(self, texts: Sequence[str]) -> None:
        self.embed(texts[: PROBE // 4])
        for _ in range(10):
            if not self.budget.is_chosen:
                self.embed(texts[:PROBE])


class TokenizedBefore(Engine):
    """The same engine on texts that are tokenized already, which shows what the tokenizer costs."""

    share = 1.0

    def __init__(self, name: str, engine: Engine) -> None:
        self.name, self.spec, self.budget, self.meter = name, engine.spec, engine.budget, Meter()
        self.encoder = Remembering(engine.encoder)

    def take(self, texts: Sequence[str]) -> None:
        super().take(texts)
        self.embed(texts)


class Remembering:
    """An encoder that tokenizes each text once, ever."""

    def __init__(self, encoder: Encoder) -> None:
        self.device, self.dtype, self.is_padded = encoder.device, encoder.dtype, encoder.is_padded
        self.forward, self.exact = encoder.forward, encoder.exact
        self._encoder = encoder
        self._known: dict[tuple[str, str, int], Tokenized] = {}

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        # The windows of one sample differ in their first or last text.
        key = (texts[0], texts[-1], len(texts))
        if key not in self._known:
            self._known[key] = self._encoder.tokenize(texts)
        return self._known[key]


class Plain(Whole):
    """`SentenceTransformer.encode`, as most Spark functions call it."""

    def __init__(self, name: str, folder: Path, device: str, dtype: str, batch: int | None) -> None:
        self.name, self._batch, self._dtype = name, batch, dtype
        self._model = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)})

    @property
    def how(self) -> str:
        return f"SentenceTransformer.encode, {self._dtype}, batch_size {self._batch}"

    def embed(self, texts: Sequence[str]) -> Matrix:
        return self._encode(texts, self._batch or 32)

    def warm_up(self, texts: Sequence[str]) -> None:
        self._encode(texts[: PROBE // 8], 32)
        if self._batch is None:
            self._batch = min(_BATCHES, key=lambda batch: _seconds(lambda: self._encode(texts[:PROBE], batch)))

    def _encode(self, texts: Sequence[str], batch: int) -> Matrix:
        # The engine turns this off for the process; a program without the engine has it.
        torch.backends.cuda.enable_cudnn_sdp(True)
        rows: Matrix = self._model.encode(list(texts), batch_size=batch, show_progress_bar=False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        return rows


@dataclass
class _Passes:
    how: str
    run: Callable[[dict[str, Any]], Any]
    build: Callable[[Sequence[Any]], dict[str, Any]]
    is_padded: bool


class Bare:
    """Forward passes over tokenized texts in order of length whose inputs are on the GPU already: no other work.

    The engine's own model, and, in half precision, the model as sentence-transformers loads it; whatever is faster.
    """

    share = 1.0

    def __init__(self, name: str, engine: Engine, folder: Path, device: str) -> None:
        self.name, self.rates = name, dict[str, float]()
        encoder: Any = engine.encoder
        self._tokenize, self._device, self._is_half = encoder.tokenize, device, encoder.dtype != "float32"
        self._kinds = [_Passes("the engine's model", encoder._run, encoder._features, encoder.is_padded)]
        if not encoder.is_padded:
            dtype = getattr(torch, encoder.dtype)
            plain = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": dtype}).eval()
            _, build = read_and_build(plain, engine.spec.model, "")
            self._kinds.append(_Passes("padded", lambda features: plain(features), build, True))
        self._best: tuple[_Passes, int] = (self._kinds[0], 0)

    @property
    def how(self) -> str:
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in self.rates.items())
        return f"{self._best[0].how}, passes of {self._best[1]} tokens; tokens/s in a trial: {rates}"

    def warm_up(self, texts: Sequence[str]) -> None:
        window = self._tokenize(texts[: PROBE if self._is_half else PROBE // 4])
        tokens = sum(window.lengths)
        for kind in self._kinds:
            for budget in _BUDGETS[self._is_half]:
                passes = list(self._built(window, kind, budget))
                self._loop(kind, passes if self._is_half else passes[:1])
                rate = tokens / _seconds(lambda kind=kind, passes=passes: self._loop(kind, passes))  # type: ignore[misc]
                self.rates[f"{kind.how} {budget}"] = rate
                if rate >= max(self.rates.values()):
                    self._best = (kind, budget)

    def run(self, texts: Sequence[str]) -> None:
        self.take(texts)
        self.again()

    def take(self, texts: Sequence[str]) -> None:
        window = self._tokenize(texts)
        self._taken = list(self._built(window, *self._best))

    def again(self) -> None:
        self._loop(self._best[0], self._taken)

    def _built(self, window: Tokenized, kind: _Passes, budget: int) -> Iterator[dict[str, Any]]:
        order = longest_first(window.lengths)
        while order:
            size = fitting([window.lengths[position] for position in order], budget, kind.is_padded)
            features = kind.build([window.items[position] for position in order[:size]])
            order = order[size:]
            yield {
                name: value.to(self._device) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }

    @torch.inference_mode()
    def _loop(self, kind: _Passes, passes: Sequence[dict[str, Any]]) -> None:
        for features in passes:
            kind.run(dict(features))
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def _windows(texts: Sequence[str]) -> Iterator[list[str]]:
    batches = (
        pa.RecordBatch.from_pydict({"text": pa.array(texts[start : start + _ARROW_ROWS])})
        for start in range(0, len(texts), _ARROW_ROWS)
    )
    return (window.column("text").to_pylist() for window in windows(batches))


def seen_lengths(engine: Engine, texts: Sequence[str]) -> list[int]:
    """Counts the tokens that the model sees of each text."""
    return engine.encoder.tokenize(texts).lengths


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
