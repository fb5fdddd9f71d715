"""The engine on this machine's GPU, against sentence-transformers and against bare forward passes, without Spark.

`make bench-gpu`. All contenders embed texts of one sample in turns, each as many as keep it busy for a few seconds.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tests.benchmarks.gpu_contenders import PROBE, Bare, Contender, Engine, Plain, TokenizedBefore, seen_lengths  # noqa: E402
from tests.benchmarks.gpu_model import write_large_model  # noqa: E402
from tests.benchmarks.texts import MODEL, mixed, short  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402

_ROUNDS = 3
# Names of the contenders that ratios are made of.
_OWN, _EXACT, _TEXTBOOK, _TUNED = "embedlake, dtype auto", "embedlake, float32", "encode, as written", "encode, tuned"
_CEILING, _EXACT_CEILING = "forward passes alone, dtype auto", "forward passes alone, float32"
_NO_TOKENIZER = "embedlake, dtype auto, tokenized before"


def sample(count: int) -> list[str]:
    """Draws texts: all abstracts and all short pages in random order, from the beginning again where they end.

    Args:
        count: Texts wanted.

    Returns:
        The texts.
    """
    every = mixed(5183) + short(6762)
    random.Random(7).shuffle(every)
    return [every[number % len(every)] for number in range(count)]


def bench(outcome: Outcome, folder: Path, device: str, seconds: float, checked: int) -> None:
    """Measures one model.

    Args:
        outcome: Where figures and checks go.
        folder: The model's folder.
        device: Torch device name.
        seconds: How long each contender runs in each round, more or less.
        checked: How many texts are embedded on the processor too.
    """
    outcome.measured(**_hardware(device))
    own, exact = Engine(_OWN, folder, "auto", device), Engine(_EXACT, folder, "float32", device)
    texts = sample(400_000)
    lengths = seen_lengths(exact, texts[: len(mixed(5183)) + len(short(6762))])
    _check_vectors(outcome, own, exact, folder, device, texts[:checked])
    everyone: list[Contender] = [
        own,
        TokenizedBefore(_NO_TOKENIZER, own),
        exact,
        Plain(_TEXTBOOK, folder, device, "float32", 32),
        Plain(_TUNED, folder, device, "bfloat16", None),
        Bare(_CEILING, own, folder, device),
        Bare(_EXACT_CEILING, exact, folder, device),
    ]
    counts = {contender.name: _prepared(contender, texts, seconds) for contender in everyone}
    outcome.measured(**{f"settings of {contender.name}": contender.how for contender in everyone})
    times = _in_turns(everyone, texts, counts)
    rates = {}
    for contender in everyone:
        count = counts[contender.name]
        tokens = sum(lengths[number % len(lengths)] for number in range(count))
        taken = median(times[contender.name])
        rates[contender.name] = tokens / taken
        outcome.measured(
            **{
                f"{contender.name}: texts": count,
                f"{contender.name}: seconds": [round(value, 2) for value in times[contender.name]],
                f"{contender.name}: texts/s": count / taken,
                f"{contender.name}: tokens/s": tokens / taken,
            }
        )
    _stages(outcome, own, texts[: counts[_OWN]])
    # No text twice, because the engine reads each word of a window once.
    outcome.measured(**{"tokenizer alone, no text twice: tokens/s": _tokenizer_rate(own, texts[: len(lengths)])})
    _compare(outcome, rates)


def _hardware(device: str) -> dict[str, Any]:
    if device == "cpu":
        return {"gpu": "none"}
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return {"gpu": done.stdout.strip() or torch.cuda.get_device_name(device), "cuda": torch.version.cuda}


def _check_vectors(
    outcome: Outcome, own: Engine, exact: Engine, folder: Path, device: str, texts: Sequence[str]
) -> None:
    cpu = Engine("", folder, "float32", "cpu").embed(texts)
    plain = Plain("", folder, device, "float32", 32).embed(texts)
    outcome.at_least("lowest cosine, dtype auto to float32 on the processor", _cosine(own.embed(texts), cpu), 0.999)
    outcome.at_most("largest difference, float32 from the processor", _difference(exact.embed(texts), cpu), 1e-5)
    outcome.at_most("largest difference, float32 from encode", _difference(exact.embed(texts), plain), 1e-5)


def _cosine(found: Any, expected: Any) -> float:
    return float((found * expected).sum(axis=1).min())


def _difference(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max())


def _prepared(contender: Contender, texts: Sequence[str], seconds: float) -> int:
    """Warms a contender up, which finds its batch size, and counts the texts that keep it busy for the seconds."""
    contender.warm_up(texts)
    seconds *= contender.share
    least = count = max(8, PROBE // 8)
    while True:
        began = time.perf_counter()
        contender.run(texts[:count])
        taken = time.perf_counter() - began
        if taken >= seconds / contender.share / 3 or count == len(texts):
            return min(len(texts), max(least, int(count * seconds / taken)))
        count = min(len(texts), count * 4)


def _in_turns(everyone: list[Contender], texts: Sequence[str], counts: dict[str, int]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {contender.name: [] for contender in everyone}
    for contender in everyone:
        contender.take(texts[: counts[contender.name]])
    for number in range(_ROUNDS):
        turn = number % len(everyone)
        for contender in [*everyone[turn:], *everyone[:turn]]:
            torch.cuda.synchronize() if torch.cuda.is_available() else None
            began = time.perf_counter()
            contender.again()
            times[contender.name].append(time.perf_counter() - began)
    return times


def _stages(outcome: Outcome, own: Engine, texts: Sequence[str]) -> None:
    own.meter.take()
    on_gpu = own.encoder.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    own.embed(texts)
    taken, found = time.perf_counter() - began, own.meter.take()
    names = ("read", "tokenise", "forward", "forward_waited", "collect", "collect_waited")
    outcome.measured(
        **{f"stage {name}, share of the time": found[name] / taken for name in names},
        **{
            "tokens a pass": found["computed"] / found["passes"],
            "padding, share of tokens computed": 1 - found["tokens"] / found["computed"],
            "token budget": own.budget.tokens,
            "without padding": str(not own.encoder.is_padded),
            "dtype": own.encoder.dtype,
            "retried": found["retried"],
            # Of all contenders' models that are loaded then, and the passes of this one.
            "most memory of the GPU, MiB": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else "none",
        },
    )


def _tokenizer_rate(own: Engine, texts: Sequence[str]) -> float:
    began = time.perf_counter()
    window = own.encoder.tokenize(texts)
    return sum(window.lengths) / (time.perf_counter() - began)


def _compare(outcome: Outcome, rates: dict[str, float]) -> None:
    outcome.at_least("dtype auto, share of the rate of its forward passes alone", rates[_OWN] / rates[_CEILING], 0.75)
    outcome.at_least(
        "float32, share of the rate of its forward passes alone", rates[_EXACT] / rates[_EXACT_CEILING], 0.75
    )
    outcome.at_least("dtype auto against encode as written", rates[_OWN] / rates[_TEXTBOOK], 3.0)
    outcome.measured(
        **{
            "float32 against encode as written": rates[_EXACT] / rates[_TEXTBOOK],
            "dtype auto against encode tuned": rates[_OWN] / rates[_TUNED],
            "dtype auto tokenized before, share of its forward passes alone": rates[_NO_TOKENIZER] / rates[_CEILING],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["small", "large"])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--checked", type=int, default=0, help="texts embedded on the processor too")
    parser.add_argument("--layers", type=int, default=24, help="of the large model, for a trial")
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "benchmarks" / "results")
    asked = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    name = "cpu" if asked.device == "cpu" else torch.cuda.get_device_name(asked.device)
    faults = []
    for kind in asked.models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = MODEL if kind == "small" else write_large_model(Path(scratch), MODEL, asked.device, asked.layers)
            outcome = Outcome("all-MiniLM-L6-v2" if kind == "small" else "BERT-large, random weights")
            bench(outcome, folder, asked.device, asked.seconds, asked.checked or (256 if kind == "small" else 24))
        write_outcome(asked.out / f"gpu-{name.lower().replace(' ', '-')}.json", outcome, "make bench-gpu")
        faults += outcome.faults
    raise SystemExit("\n".join(faults) if faults else 0)


if __name__ == "__main__":
    main()
