"""Counts, seconds and inference of a run: filled as it works, recorded with its events, reported at its end."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.worker_rows import COUNTED, NAMES, PEAKS, SUMS

# A model that is busy for this share of the time leaves nothing to gain elsewhere.
_BUSY = 0.9
_SLICE_STEPS = ("chunk", "reuse", "embed", "merge vectors", "merge ledger")


def meter_columns() -> list[Column]:
    """Returns one aggregate for each field of the workers' meters, to observe them."""
    sums = [F.coalesce(F.sum(f"meter.{name}"), F.lit(0.0)).alias(name) for name in (*SUMS, *COUNTED)]
    return sums + [F.max(f"meter.{name}").alias(name) for name in (*PEAKS, *NAMES)]


@dataclass
class InferenceSummary:
    """What the model was given and how long it took, over the slices of a run.

    Attributes:
        values: Fields of `schemas.worker_rows.METER`; empty until something is embedded.
    """

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, observed: Mapping[str, Any]) -> None:
        """Adds what `meter_columns` observed of one slice."""
        for name in SUMS:
            self.values[name] = self.values.get(name, 0.0) + observed[name]
        for name in PEAKS:
            self.values[name] = max(self.values.get(name, 0.0), observed[name] or 0.0)
        self.values.update({name: observed[name] for name in NAMES if observed[name] is not None})

    def bottleneck(self) -> str:
        """Names the stage that the others wait for: read, tokenise, forward, collect, encode or write."""
        v = self.values
        # While the model is busy, no other stage can be what the run waits for.
        if v["forward"] >= _BUSY * (v["forward"] + v["forward_waited"]):
            return "forward"
        return max(("read", "tokenise", "collect", "encode", "write"), key=lambda stage: float(v[stage]))

    def _hardware(self) -> str:
        """Names device, type and backend, and the rates of both backends where they were tried."""
        v = self.values
        torch, openvino = v["torch_rate"], v["openvino_rate"]
        rates = f" (tokens/s in its trial: torch {torch:,.0f}, openvino {openvino:,.0f})" if torch and openvino else ""
        return f"{v['device']} {v['dtype']} by {v['backend']}{rates}"

    def line(self) -> str:
        """Renders the summary in one line; empty if nothing was embedded."""
        v = self.values
        if not v or not v["passes"]:
            return ""
        busy = v["forward"] + v["forward_waited"]
        parts = [
            self._hardware(),
            f"{v['token_budget']:,.0f} tokens a pass",
            f"{v['tokens'] / max(v['forward'], 1e-9):,.0f} tokens/s in the model",
            f"{1 - v['tokens'] / v['computed']:.1%} padding",
            f"model waited {v['forward_waited'] / max(busy, 1e-9):.0%} of the time, bottleneck {self.bottleneck()}",
            f"loaded in {v['load_seconds']:.1f} s",
            f"at most {v['peak_mebibytes']:,.0f} MiB a worker",
        ]
        if v["out_of_memory"]:
            parts.append(f"{v['out_of_memory']:,.0f} times out of memory")
        if v.get("backend_note"):
            parts.append(v["backend_note"])
        return " · ".join(parts)


@dataclass
class Tally:
    """Counts, seconds and inference of one run so far.

    Attributes:
        seconds: Wall-clock seconds by step, in order of first use; filled by the run's `Progress`.
        counts: chunks, tokens and slices of what is committed, by the names in `embedding.report`.
        inference: What the model was given and how long it took.
        documents: Documents in committed slices.
        tokens: Estimated tokens of committed slices.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    inference: InferenceSummary = field(default_factory=InferenceSummary)
    documents: int = 0
    tokens: int = 0

    @property
    def slice_seconds(self) -> float:
        """Seconds spent on slices."""
        return sum(self.seconds.get(step, 0.0) for step in _SLICE_STEPS)

    @property
    def tokens_per_second(self) -> float:
        """Tokens embedded per second of the embed step, in slices that need not be committed yet; 0 before any."""
        tokens = float(self.inference.values.get("tokens", 0.0))
        return tokens / self.seconds["embed"] if self.seconds.get("embed") else 0.0

    def add_slice(self, counts: Mapping[str, int], documents: int, tokens: int) -> None:
        """Adds a committed slice: its counts, documents and estimated tokens."""
        self.counts.update(counts)
        self.counts["slices"] += 1
        self.documents += documents
        self.tokens += tokens
