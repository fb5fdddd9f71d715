"""How long a worker takes from the start of its process to its first pass, and the memory that it needs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.cloudpickle import dumps

from tests.benchmarks.texts import MODEL, ROOT, passages, short
from tests.validate.outcome import Outcome
from udfs.embed import embed_arrow
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

# The process does what one of Spark's workers does: it imports Spark's worker, unpickles the function and runs it.
_WORKER = """
import json, sys, time
import pyspark.worker
from pyspark.cloudpickle import loads
import pyarrow.parquet as pq

function, texts = sys.argv[1:]
with open(function, "rb") as file:
    embed = loads(file.read())
from udfs.inference import passes
original, first = passes._forward, []

def noted(*given):
    rows = original(*given)
    first.append(time.time())
    return rows

passes._forward = noted
meters = [batch.column("meter")[0].as_py() for batch in embed(iter(pq.read_table(texts).to_batches(max_chunksize=500)))]
meter = meters[-1]
heavy = sorted({"torch", "transformers", "sentence_transformers"} & set(sys.modules))
print(json.dumps({**meter, "load_seconds": meters[0]["load_seconds"], "first": first[0], "heavy": heavy}))
"""
_ROUNDS = 3


def worker(outcome: Outcome, texts: int = 1500) -> None:
    """Starts workers with torch, with an empty cache of converted models and with a filled one, in turns.

    Args:
        outcome: Where figures and checks go.
        texts: Texts that each worker embeds, half of them passages, half of them short pages.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        drawn = passages(texts // 2) + short(texts // 2)
        batch = pa.table({"text_hash": [str(number) for number in range(len(drawn))], "text": drawn})
        pq.write_table(batch, folder / "texts.parquet")
        for dtype in ("float32", "auto"):
            _compare(outcome, folder, dtype)


def _compare(outcome: Outcome, folder: Path, dtype: str) -> None:
    kinds = ("torch", "cold cache", "warm cache")
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for number in range(_ROUNDS):
        for kind in kinds:
            backend = "torch" if kind == "torch" else "auto"
            found[kind].append(_start(folder, dtype, backend, str(folder / f"cache-{dtype}-{number}")))
            print(f"      {dtype}, {kind}: {found[kind][-1]['first']:.1f} s", flush=True)
    for kind in kinds:
        first, peak = (median(each[name] for each in found[kind]) for name in ("first", "peak_mebibytes"))
        outcome.measured(
            **{
                f"{dtype}, {kind}: seconds to the first pass": first,
                f"{dtype}, {kind}: seconds to load the model": median(each["load_seconds"] for each in found[kind]),
                f"{dtype}, {kind}: peak MiB": peak,
                f"{dtype}, {kind}: backend": sorted({each["backend"] for each in found[kind]}),
                f"{dtype}, {kind}: imports": found[kind][0]["heavy"],
            }
        )
    rates = [(each["torch_rate"], each["openvino_rate"]) for each in found["cold cache"]]
    outcome.measured(**{f"{dtype}: tokens/s in the trials, torch and OpenVINO": rates})
    warm = found["warm cache"]
    outcome.at_most(f"{dtype}: first pass with a warm cache, seconds", median(each["first"] for each in warm), 5)
    outcome.at_most(f"{dtype}: memory with a warm cache, MiB", max(each["peak_mebibytes"] for each in warm), 600)


def _start(folder: Path, dtype: str, backend: str, cache: str) -> dict[str, Any]:
    model = describe_model(str(MODEL))
    spec = InferenceSpec(model=model, dtype=dtype, backend=backend, cache=cache)  # type: ignore[arg-type]
    folder.joinpath("function").write_bytes(dumps(embed_arrow(spec)))
    command = [sys.executable, "-c", _WORKER, str(folder / "function"), str(folder / "texts.parquet")]
    began = time.time()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return {**result, "first": result["first"] - began}
