"""The installed command against the UDF of tutorials: whole processes, from their start to their end."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.benchmarks.job import vectors_of
from tests.benchmarks.texts import MODEL, ROOT, passages, short
from tests.validate.outcome import Outcome
from udfs.encoders.hardware import instructions

# Which one is faster depends on the number of texts: as written, one small file is one task.
_FORMS = ("textbook as written", "textbook by cores")
_TUTORIALS = tuple(os.environ.get("TUTORIAL_FORMS", ",".join(_FORMS)).split(","))
# Data type, and whether the cache of converted models is the one of the process before.
_OWN = {
    "embedlake float32, cold cache": ("float32", False),
    "embedlake float32, warm cache": ("float32", True),
    "embedlake dtype auto, cold cache": ("auto", False),
    "embedlake dtype auto, warm cache": ("auto", True),
}


def tutorial(outcome: Outcome) -> None:
    """Times whole cold processes in turns, over an equal mix of passages and short pages.

    TUTORIAL_TEXTS says how many texts, TUTORIAL_ROUNDS how often each runs, TUTORIAL_FORMS which forms of the tutorial.

    Args:
        outcome: Where figures and checks go.
    """
    count, rounds = int(os.environ.get("TUTORIAL_TEXTS", "13793")), int(os.environ.get("TUTORIAL_ROUNDS", "1"))
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    pages = short(count // 2)
    drawn = passages(count - len(pages)) + pages
    source = folder / "texts.parquet"
    pq.write_table(pa.table({"id": [f"{number:06}" for number in range(len(drawn))], "text": drawn}), source)
    names = (*_TUTORIALS, *_OWN)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    made = {}
    for number in range(rounds):
        # Warm caches follow cold ones, so each half is turned by itself.
        for name in [*_TUTORIALS[number % 2 :], *_TUTORIALS[: number % 2], *_OWN]:
            out = folder / "out"
            seconds[name].append(_tutorial(name, source, out) if name in _TUTORIALS else _own(name, source, out))
            made.setdefault(name, vectors_of(out))
            shutil.rmtree(out)
            print(f"      round {number + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
    shutil.rmtree(folder)
    outcome.measured(texts=len(drawn), characters=mean(map(len, drawn)), rounds=rounds)
    outcome.measured(**{f"{name}, seconds": [round(each, 1) for each in seconds[name]] for name in names})
    for name, matrix in made.items():
        cosines = (matrix * made[_TUTORIALS[0]]).sum(axis=1)
        if "auto" in name:
            outcome.at_least(f"lowest cosine of {name}", float(cosines.min()), 0.999)
        else:
            outcome.at_most(f"largest difference of {name}", float(np.abs(matrix - made[_TUTORIALS[0]]).max()), 1e-5)
    _hold(outcome, {name: median(found) for name, found in seconds.items()})


def _hold(outcome: Outcome, seconds: dict[str, float]) -> None:
    flags = instructions()
    wanted = 3.0 if "amx_tile" in flags else 2.2 if "avx512_bf16" in flags else 1.15
    for name in _OWN:
        least = wanted if "auto" in name else 1.0
        for other in _TUTORIALS:
            outcome.measured(**{f"{name} against {other}": seconds[other] / seconds[name]})
        outcome.at_least(f"{name} against the faster", min(map(seconds.__getitem__, _TUTORIALS)) / seconds[name], least)


def _tutorial(name: str, source: Path, out: Path) -> float:
    script = ROOT / "tests" / "benchmarks" / "spark_contender.py"
    arguments = ["--model", str(MODEL), "--texts", str(source), "--out", str(out), "--cold"]
    return _timed([sys.executable, str(script), name, *arguments])


def _own(name: str, source: Path, out: Path) -> float:
    dtype, is_warm = _OWN[name]
    cache = source.parent / f"cache-{dtype}"
    if not is_warm:
        shutil.rmtree(cache, ignore_errors=True)
    settings = source.parent / "settings.yaml"
    values = {
        "library": "bench",
        "store": {"path": str(out)},
        "source": {"format": "parquet", "path": str(source), "id_column": "id", "text_columns": ["text"]},
        "chunking": {"method": "none"},
        "model": {"path": str(MODEL), "dtype": dtype},
        "inference": {"cache": str(cache)},
        "spark": {"master": "local[2]"},
    }
    settings.write_text(yaml.safe_dump(values), encoding="utf-8")
    return _timed([str(Path(sys.executable).with_name("embedlake")), "embed", "--config", str(settings)])


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
    print("      " + "\n      ".join(line for line in done.stdout.splitlines() if line.startswith("inference")))
    return seconds
