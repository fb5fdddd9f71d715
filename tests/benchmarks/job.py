"""Whole jobs against each other: every contender in a process of its own, in turns, over the same texts."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

from tests.benchmarks.peers import PEERS, python_of
from tests.benchmarks.texts import MODEL, ROOT, mixed, short
from tests.validate.outcome import Outcome

_SCRIPTS = ROOT / "tests" / "benchmarks"
_TEXTBOOK, _BY_CORES = "textbook as written", "textbook by cores"
_OWN = ("embedlake", "embedlake openvino", "embedlake dtype auto", "embedlake openvino dtype auto")
CONTENDERS = (_TEXTBOOK, _BY_CORES, "textbook tuned", "predict_batch_udf", *PEERS, *_OWN)


def job(outcome: Outcome, texts: int = 10_000, rounds: int = 1) -> None:
    """Times whole jobs, session start left out, and compares their vectors.

    All contenders take an hour and a half; JOB_CONTENDERS names fewer, by commas, the textbook ones among them.

    Args:
        outcome: Where figures and checks go.
        texts: Texts to embed, half of them abstracts, half of them short pages.
        rounds: How often each contender runs.
    """
    contenders = tuple(os.environ.get("JOB_CONTENDERS", ",".join(CONTENDERS)).split(","))
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    source = folder / "texts.parquet"
    drawn = mixed(texts // 2) + short(texts // 2)
    pq.write_table(pa.table({"id": [f"{number:06}" for number in range(len(drawn))], "text": drawn}), source)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    made: dict[str, Any] = {}
    for number in range(rounds):
        turn = number % len(contenders)
        for name in [*contenders[turn:], *contenders[:turn]]:
            out = folder / "out"
            seconds[name].append(_run(name, source, out))
            made.setdefault(name, vectors_of(out))
            shutil.rmtree(out)
            print(f"      round {number + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
    _compare(outcome, seconds, made, len(drawn))
    shutil.rmtree(folder)


def _compare(outcome: Outcome, seconds: dict[str, list[float]], made: dict[str, Any], texts: int) -> None:
    rates = {name: texts / median(found) for name, found in seconds.items()}
    for name, rate in rates.items():
        outcome.measured(**{f"{name} texts/s": rate, f"{name} seconds": [round(value, 1) for value in seconds[name]]})
    expected = made[_BY_CORES]
    for name, matrix in made.items():
        if "auto" in name:
            outcome.at_least(f"lowest cosine of {name}", float((matrix * expected).sum(axis=1).min()), 0.9999)
        else:
            outcome.at_most(f"largest difference of {name}", float(np.abs(matrix - expected).max()), 1e-5)
    # Daft runs without Spark; it is measured beside.
    best = max(rate for name, rate in rates.items() if name not in (*_OWN, "daft"))
    float32, half = (max(rates.get(name, 0.0) for name in own) for own in (_OWN[:2], _OWN[2:]))
    outcome.at_least("float32 against the textbook UDF with partitions = cores", float32 / rates[_BY_CORES], 1.5)
    outcome.at_least("float32 against the textbook UDF as written", float32 / rates[_TEXTBOOK], 2.5)
    outcome.at_least("float32 against the best Spark contender", float32 / best, 1.2)
    outcome.at_least("dtype auto against the textbook UDF with partitions = cores", half / rates[_BY_CORES], 3.5)


def _run(name: str, source: Path, out: Path) -> float:
    script = _SCRIPTS / ("daft_contender.py" if name == "daft" else "spark_contender.py")
    command = [python_of(name), str(script), name, "--model", str(MODEL), "--texts", str(source), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def vectors_of(out: Path) -> Any:
    """Reads the vectors that a contender wrote, in the order of the texts, at unit length.

    Args:
        out: Where it wrote them.

    Returns:
        (n, dimension) float32.
    """
    table = out / "vectors" if (out / "vectors").exists() else out / "bench" / "main" / "vectors"
    name = "id" if (out / "vectors").exists() else "doc_id"
    query = f"SELECT embedding FROM t ORDER BY {name}"
    rows = QueryBuilder().register("t", DeltaTable(table)).execute(query).read_all()
    matrix = np.array(pa.table(rows)["embedding"].to_pylist(), dtype=np.float32)
    # One peer leaves that to its user.
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
