"""Plans of runs on real libraries, held to what the runs then did; each command is a process of its own, as by hand.

Run by `make validate-plan`, or with the names of parts: tldr, scifact, capped, nothing. tldr-pages is loaded as it was
in 2025 and refreshed to 2026; of SciFact a half is loaded, and then the whole. A part of SciFact is embedded by one run
and, in another store, by capped runs; both tables are compared. And a plan is timed beside a run with nothing to do.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from schemas.plan import CHANGES  # noqa: E402
from tests.support.refresh.oracle import query  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import DATA, MODEL, need, read_corpus, read_steps, write_source  # noqa: E402

EDITIONS = ["2025-01-01", "2026-01-01"]
CAPPED_DOCUMENTS, MOST_CAPPED = 1_000, 8
TOKENS_APART, SECONDS_APART, VECTORS_APART = 0.05, 0.30, 1e-5
ROUNDS = 5


def settings_file(folder: Path, library: str, texts: list[str], store: str = "store", **run: int) -> Path:
    """Writes the settings of a library whose source is the folder `source`."""
    values = {
        "library": library,
        "store": {"path": str(folder / store)},
        "source": {"format": "parquet", "path": str(folder / "source"), "id_column": "doc_id", "text_columns": texts},
        "model": {"path": str(MODEL), "dtype": "float32"},
        "run": run,
    }
    file = folder / f"{store}.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def embedlake(*arguments: str | Path, allowed: tuple[int, ...] = (0,)) -> tuple[str, float, int]:
    """Runs a command; returns its standard output, its wall-clock seconds and its exit code."""
    began = time.monotonic()
    program = "from spark_jobs.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode not in allowed:
        sys.exit(f"embedlake {arguments[0]} ended with {done.returncode}, not {allowed}:\n{done.stderr[-3000:]}")
    return done.stdout, time.monotonic() - began, done.returncode


def plan_of(settings: Path) -> dict[str, Any]:
    """Plans the next run."""
    found: dict[str, Any] = json.loads(embedlake("plan", "--config", settings, "--json")[0])
    return found


def counts_of(settings: Path) -> dict[str, int]:
    """Reads what the last run counted, without Spark."""
    store = yaml.safe_load(settings.read_text(encoding="utf-8"))["store"]["path"]
    rows = query(Path(store, "_embedlake", "runs"), "select run_number, event, counts from t order by run_number")
    return dict([row for row in rows if row["event"] == "finished"][-1]["counts"])


def compare(outcome: Outcome, library: str, settings: Path) -> None:
    """Plans a refresh, runs it, and compares documents, tokens and seconds."""
    plan = plan_of(settings)
    summary, wall, _ = embedlake("embed", "--config", settings)
    print(summary)
    counts, forecast = counts_of(settings), plan["forecast"]
    outcome.equal(
        f"{library}: documents by change",
        {name: plan["documents"][name] for name in CHANGES},
        {name: counts[name] for name in CHANGES},
    )
    seconds = counts["milliseconds"] / 1000
    outcome.at_most(
        f"{library}: tokens to embed, planned beside embedded",
        abs(forecast["embedded"] / counts["tokens_embedded"] - 1),
        TOKENS_APART,
    )
    outcome.at_most(f"{library}: seconds, planned beside taken", abs(forecast["seconds"] / seconds - 1), SECONDS_APART)
    outcome.measured(
        **{
            f"{library}_planned_tokens": forecast["embedded"],
            f"{library}_embedded_tokens": counts["tokens_embedded"],
            f"{library}_planned_seconds": round(forecast["seconds"], 1),
            f"{library}_seconds": round(seconds, 1),
            f"{library}_process_seconds": round(wall, 1),
            f"{library}_planned_chunks": forecast["chunks"],
            f"{library}_chunks": counts["chunks"],
            f"{library}_planned_slices": plan["slices"],
            f"{library}_slices": counts["slices"],
        }
    )


def tldr(outcome: Outcome, folder: Path) -> None:
    """Loads tldr-pages of 2025 and refreshes to 2026."""
    first, second = read_steps("tldr-en", EDITIONS)
    settings = settings_file(folder, "tldr", ["text"])
    write_source(folder / "source", first.documents)
    print(embedlake("embed", "--config", settings)[0])
    write_source(folder / "source", second.documents)
    compare(outcome, "tldr", settings)


def scifact(outcome: Outcome, folder: Path) -> None:
    """Loads a half of SciFact, then the whole."""
    documents = read_corpus()
    settings = settings_file(folder, "scifact", ["title", "text"])
    write_source(folder / "source", documents[: len(documents) // 2])
    print(embedlake("embed", "--config", settings)[0])
    write_source(folder / "source", documents)
    compare(outcome, "scifact", settings)


def capped(outcome: Outcome, folder: Path) -> None:
    """Embeds a part of SciFact by one run, and by capped ones in another store."""
    settings = settings_file(folder, "scifact", ["title", "text"])
    again = settings_file(folder, "scifact", ["title", "text"], "capped")
    write_source(folder / "source", read_corpus(CAPPED_DOCUMENTS))
    embedlake("embed", "--config", settings)
    total = counts_of(settings)["tokens_embedded"]
    cap, ends = total * 2 // 5, []
    for _ in range(MOST_CAPPED):
        ends.append(embedlake("embed", "--config", again, "--set", f"run.max_tokens={cap}", allowed=(0, 8))[2])
        if ends[-1] != 8:
            break
    outcome.equal("exit codes of runs with a cap of two fifths", ends, [8, 8, 0])
    whole, parts = (table_of(folder / store) for store in ("store", "capped"))
    ids = [[row["chunk_id"] for row in rows] for rows in (whole, parts)]
    outcome.equal("chunks that are not those of one run", len(set(ids[0]) ^ set(ids[1])), 0)
    apart = max(np.abs(np.subtract(a["embedding"], b["embedding"])).max() for a, b in zip(whole, parts, strict=True))
    outcome.at_most("largest difference of a number", float(apart), VECTORS_APART)
    outcome.measured(tokens=total, cap=cap, chunks=len(whole))


def table_of(store: Path) -> list[dict[str, Any]]:
    """Reads the vectors of a store without Spark."""
    return query(store / "scifact" / "main" / "vectors", "select chunk_id, embedding from t order by 1")


def nothing(outcome: Outcome, folder: Path) -> None:
    """Times a plan beside a run, both with nothing to do, in turns."""
    settings = settings_file(folder, "scifact", ["title", "text"])
    write_source(folder / "source", read_corpus())
    embedlake("embed", "--config", settings, "--set", "model.path=fake:384")
    runs: list[float] = []
    plans: list[float] = []
    for _ in range(ROUNDS):
        for verb, seconds in (("plan", plans), ("embed", runs)):
            seconds.append(embedlake(verb, "--config", settings, "--set", "model.path=fake:384")[1])
    outcome.at_most(
        "a plan beside a run with nothing to do, medians of the processes", median(plans) / median(runs), 1.0
    )
    outcome.measured(plan_seconds=round(median(plans), 2), run_seconds=round(median(runs), 2))


PARTS: dict[str, Callable[[Outcome, Path], None]] = {
    "tldr": tldr,
    "scifact": scifact,
    "capped": capped,
    "nothing": nothing,
}


def main() -> None:
    """Plans, runs and compares; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"parts to run: {', '.join(PARTS)}; all by default")
    names = parser.parse_args().parts or list(PARTS)
    need(DATA / "scifact", DATA / "tldr-en", MODEL)
    faults = []
    for name in names:
        outcome = Outcome(f"plan: {name}")
        with tempfile.TemporaryDirectory() as scratch:
            PARTS[name](outcome, Path(scratch))
        write_outcome(ROOT / "tests" / "validate" / "results" / "plan.json", outcome, "make validate-plan")
        faults += outcome.faults
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
