"""The engine alone against sentence-transformers, on the same texts, in one process, in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks.texts import MODEL, mixed, short
from tests.validate.outcome import Outcome

Matrix = NDArray[np.float32]
CORES = torch.get_num_threads()


@dataclass(frozen=True)
class Contender:
    """One way to embed texts.

    Attributes:
        name: What it is called in the results.
        how: Its settings in words.
        embed: Texts to unit vectors.
    """

    name: str
    how: str
    embed: Callable[[list[str]], Matrix]


def contenders() -> list[Contender]:
    """Loads every contender once.

    Returns:
        Contenders; the first is what ratios are against.
    """
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(MODEL), device="cpu")

    def encode(batch_size: int) -> Callable[[list[str]], Matrix]:
        return lambda texts: plain.encode(texts, batch_size=batch_size, show_progress_bar=False)

    return [
        Contender("encode", "SentenceTransformer.encode, batch_size 32 (its default), float32", encode(32)),
        Contender("encode tuned", "the same with batch_size 8, the best of 4 to 64 here", encode(8)),
        _engine("engine, torch", dtype="float32", backend="torch"),
        _engine("engine, openvino", dtype="float32", backend="openvino"),
        _engine("engine, torch bf16", dtype="bfloat16", backend="torch"),
        _engine("engine, openvino bf16", dtype="bfloat16", backend="openvino"),
    ]


def _engine(name: str, **options: Any) -> Contender:
    from udfs.encoders.encoder import load_encoder
    from udfs.inference.engine import embed_texts
    from udfs.models.source import describe_model
    from udfs.specs import InferenceSpec

    spec = InferenceSpec(model=describe_model(str(MODEL)), device="cpu", **options)
    encoder = load_encoder(spec, cores=CORES)
    how = f"embed_texts, token budget auto, {options}, {CORES} threads"
    return Contender(name, how, lambda texts: embed_texts(encoder, texts, spec).matrix)


def engine(outcome: Outcome, rounds: int = 5) -> None:
    """Times all contenders in turns on mixed and on short texts.

    Args:
        outcome: Where figures and checks go.
        rounds: How often each contender embeds all texts.
    """
    everyone = contenders()
    outcome.measured(**{f"settings of {contender.name}": contender.how for contender in everyone})
    for kind, texts in (("mixed", mixed(400)), ("short", short(800))):
        tokens = sum(len(ids) for ids in _counted(texts))
        outcome.measured(**{f"{kind} texts": len(texts), f"{kind} tokens a text": tokens / len(texts)})
        rates = _rates(everyone, texts, rounds, outcome, kind)
        first = rates["encode"]
        for name, rate in rates.items():
            outcome.measured(**{f"{kind} {name} texts/s": rate, f"{kind} {name} of encode": rate / first})
        if kind == "mixed":
            outcome.at_least("torch against encode, mixed texts", rates["engine, torch"] / first, 1.3)
            outcome.at_least("openvino against encode, mixed texts", rates["engine, openvino"] / first, 1.5)


def _counted(texts: list[str]) -> list[list[int]]:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(str(MODEL))(texts, truncation=True, max_length=256)["input_ids"]
    return list(found)


def _rates(everyone: list[Contender], texts: list[str], rounds: int, outcome: Outcome, kind: str) -> dict[str, float]:
    seconds: dict[str, list[float]] = {contender.name: [] for contender in everyone}
    made: dict[str, Matrix] = {}
    for number in range(rounds + 1):
        turn = number % len(everyone)
        for contender in [*everyone[turn:], *everyone[:turn]]:
            began = time.perf_counter()
            made[contender.name] = contender.embed(texts)
            # The first round loads, compiles and finds budgets.
            if number:
                seconds[contender.name].append(time.perf_counter() - began)
    expected = made["encode"]
    for name, matrix in made.items():
        cosine = float((matrix * expected).sum(axis=1).min())
        if "bf16" in name:
            outcome.at_least(f"{kind}: lowest cosine of {name} to encode", cosine, 0.9999)
        else:
            difference = float(np.abs(matrix - expected).max())
            outcome.at_most(f"{kind}: largest difference of {name} from encode", difference, 1e-5)
    return {name: len(texts) / median(found) for name, found in seconds.items()}
