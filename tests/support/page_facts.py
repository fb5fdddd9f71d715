"""Facts of a library that grew over many runs, for pages that are drawn without a store."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from spark_jobs.page.facts import (
    Calibrated,
    Contents,
    Coverage,
    Evaluated,
    Lengths,
    PageFacts,
    RunFacts,
    Runs,
    SliceFacts,
    SpaceChange,
    TriedSize,
    VectorMap,
)
from spark_jobs.page.vector_map import label_points, project
from spark_jobs.settings.sections import CostSettings
from spark_jobs.store.space_facts import Quality, SpaceFacts

AT = datetime(2026, 3, 9, 6, 30, tzinfo=UTC)
PACKAGES = ("click", "rich", "pydantic", "numpy", "typer")
_STEPS = {
    **{"session": 5.1, "pre-flight": 1.4, "compare": 4.0, "open": 2.5, "plan": 1.2, "load model": 3.0, "chunk": 2.2},
    **{"reuse": 0.8, "embed": 60.0, "merge vectors": 9.0, "merge ledger": 4.0, "reconcile": 3.0, "close": 0.4},
}


def run_facts(number: int, **changes: Any) -> RunFacts:
    """One finished run; its figures depend on its number alone."""
    drawn = np.random.default_rng(number)
    load = 8.0 if number == 1 else float(drawn.uniform(0.2, 1.0))
    seconds = {
        step: round(value * (load if step in ("embed", "chunk", "merge vectors") else 1), 2)
        for step, value in _STEPS.items()
    }
    tokens = int(seconds["embed"] * drawn.uniform(9_000, 12_500))
    computed, forward = tokens / (1 - float(drawn.uniform(0.02, 0.06))), seconds["embed"] * 0.9
    counts = {"added": tokens // 900, "changed": tokens // 2500, "retry": 0, "payload": 3, "removed": tokens // 9000}
    counts |= {"chunks": tokens // 180, "tokens_embedded": tokens, "tokens_saved": tokens // 8, "slices": 1}
    values: dict[str, Any] = {
        "number": number,
        "event": "finished",
        "at": AT - timedelta(days=100 - number),
        "plan": "by the change feed",
        "counts": counts,
        "seconds": seconds,
        "inference": {
            **{"tokens": tokens, "computed": computed, "forward": forward, "device": "cpu"},
            "forward_waited": forward * float(drawn.uniform(0.01, 0.08)),
        },
        "slices": 1,
    }
    return RunFacts(**{**values, **changes})


def many_runs(count: int = 100) -> Runs:
    """The last runs of a space: one failed, and the first had many slices."""
    shown = [run_facts(number) for number in range(1, count + 1)]
    if count > 20:
        shown[-7] = run_facts(
            count - 6, event="failed", message='[CAST_INVALID_INPUT] sourceType "STRING", targetType "INT"'
        )
        for place in range(-12, 0):
            run = shown[place]
            guess = {
                "estimated_tokens": int(run.tokens * (0.9 + place % 3 / 10)),
                "estimated_seconds": int(run.total_seconds * 1.1),
            }
            shown[place] = run_facts(run.number, event=run.event, message=run.message, counts={**run.counts, **guess})
    drawn = np.random.default_rng(0)
    slices = [
        SliceFacts(number, int(drawn.uniform(5e6, 6.5e6)), float(drawn.uniform(560, 640))) for number in range(1, 41)
    ]
    return Runs(count, shown, 1, slices)


def space_facts(space: str, state: str, quality: float | None = None) -> SpaceFacts:
    """One space of the library."""
    measured = None if quality is None else Quality("nDCG@10", quality, "questions.jsonl", 12, AT)
    return SpaceFacts(
        **{"space": space, "state": state, "model": f"/models/{space}-MiniLM-L6-v2", "model_fingerprint": "f" * 64},
        **{"dimension": 384, "precision": "float32", "documents": 12_480, "chunks": 18_912, "bytes": 34_700_000},
        chunking={"method": "structure", "min_tokens": 64, "max_tokens": 256},
        **{"source_version": 41, "created_at": AT, "finished_at": AT, "quality": measured},
    )


def vector_map(
    count: int, text: str = "Prints a message and a newline to the given file. ", id_: str = "click.echo"
) -> VectorMap:
    """A sample of vectors in clusters, with as much text as a page takes."""
    drawn = np.random.default_rng(7)
    group = drawn.integers(0, len(PACKAGES), size=count)
    centers = drawn.normal(size=(len(PACKAGES), 32)) * 1.4
    points, explained = project((centers[group] + drawn.normal(size=(count, 32))).astype(np.float32))
    ids, texts = label_points([f"{id_} {n}" for n in range(count)], [f"{n} {text * 20}" for n in range(count)])
    pairs = [(float(x), float(y)) for x, y in points]
    return VectorMap(pairs, explained, 18_912, "package", PACKAGES, [int(g) for g in group], ids, texts)


def page_facts(runs: int | Runs = 100, points: int = 5_000, **changes: Any) -> PageFacts:
    """A library with everything that a page can show; keywords replace facts."""
    evaluations = [
        Evaluated(
            space, measure, value + month / 200, "questions.jsonl", 300, AT - timedelta(days=30 * (6 - month)), *against
        )
        for month in range(6)
        for measure, value in (("nDCG@10", 0.62), ("R@100", 0.9))
        for space, value, against in ((("main", value, ())), ("next", value + 0.02, ("main", 0.021, 0.004, 0.038)))
    ]
    values: dict[str, Any] = {
        "library": "python-docs",
        "space": "main",
        "at": AT,
        "coverage": Coverage(
            {"unchanged": 12_391, "added": 96, "changed": 41, "retry": 4, "payload": 12, "removed": 3}, 42
        ),
        "contents": Contents(
            {"embedded": 12_431, "empty": 12, "quarantined": 37},
            {"too_large": 21, "model_error": 11, "invalid_utf8": 5},
            **{"chunks": 18_912, "truncated": 214, "tokens": 3_812_330},
            lengths=Lengths(
                10, [round(900 * np.exp(-(((n - 17) / 7) ** 2))) + 40 for n in range(27)], 171, 248, 271, 256
            ),
        ),
        "runs": many_runs(runs) if isinstance(runs, int) else runs,
        "spaces": [
            space_facts("main", "active", 0.645),
            space_facts("next", "ready", 0.665),
            space_facts("old", "retired"),
        ],
        "evaluations": evaluations,
        "changes": [
            SpaceChange(
                "next", "refused", AT, "nDCG@10 may be lower by up to 0.004", {"coverage": 0.991, "nDCG@10": 0.641}
            ),
            SpaceChange("main", "promoted", AT - timedelta(days=90), "", {"coverage": 1.0, "nDCG@10": 0.625}),
        ],
        "cost": CostSettings(per_hour=1.2),
        "map": vector_map(points),
        "calibration": Calibrated(
            "cpu",
            "float32",
            4_096,
            "41 texts/s, the highest median",
            [
                TriedSize(kind, value, rate / 180, rate, 0.03, value / 9_000, value / 7_000, 900 + value / 20)
                for kind, value, rate in (
                    *(("rows", 8, 6_900.0), ("rows", 32, 7_600.0), ("rows", 64, 7_300.0)),
                    *(("tokens", 1_024, 6_100.0), ("tokens", 2_048, 7_500.0), ("tokens", 4_096, 8_200.0)),
                    *(("tokens", 8_192, 8_150.0), ("tokens", 16_384, 7_700.0)),
                )
            ],
        ),
    }
    return PageFacts(**{**values, **changes})
