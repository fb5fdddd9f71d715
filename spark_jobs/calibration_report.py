"""Reading a calibration: medians by size, which one to take, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from pyspark.sql import Row
from rich.table import Table

# Sizes whose rates lie this close cannot be told apart; the smaller one leaves more memory.
_TIE = 0.03


@dataclass(frozen=True)
class SizeResult:
    """What passes of one size did, over all rounds.

    Attributes:
        kind: `rows` or `tokens`.
        value: Texts, or tokens, of a pass.
        texts_per_second: Median over the rounds; 0 where a pass did not fit into memory.
        tokens_per_second: Likewise.
        padding: Share of the computed tokens that were padding.
        p50: Median seconds of a pass.
        p95: Seconds that 95 of 100 passes stay below.
        p99: Seconds that 99 of 100 passes stay below.
        peak_mebibytes: Most memory of any round.
    """

    kind: str
    value: int
    texts_per_second: float
    tokens_per_second: float
    padding: float
    p50: float
    p95: float
    p99: float
    peak_mebibytes: float


@dataclass(frozen=True)
class Calibration:
    """A calibration as it is shown and written.

    Attributes:
        device: Torch device name.
        dtype: Arithmetic of the forward pass.
        results: One for each size.
        token_budget: The recommended value of `inference.token_budget`.
        why: The reason in words.
    """

    device: str
    dtype: str
    results: Sequence[SizeResult]
    token_budget: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the calibration as JSON takes it."""
        return asdict(self)

    def table(self) -> Table:
        """Renders the results, one line for each size."""
        table = Table("pass", "texts/s", "tokens/s", "padding", "p50 ms", "p95 ms", "p99 ms", "peak MiB")
        for r in self.results:
            rates = [f"{r.texts_per_second:,.0f}", f"{r.tokens_per_second:,.0f}", f"{r.padding:.1%}"]
            times = [f"{1000 * seconds:,.1f}" for seconds in (r.p50, r.p95, r.p99)]
            cells = [*rates, *times] if r.texts_per_second else ["out of memory", *[""] * 5]
            table.add_row(f"{r.value:,} {r.kind}", *cells, f"{r.peak_mebibytes:,.0f}")
        return table


def as_calibration(rows: Iterable[Row]) -> Calibration:
    """Sums up the trials.

    Args:
        rows: Rows of `schemas.calibration.TRIALS`, at least one.

    Returns:
        The calibration.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.value), []).append(row)
    results = [_result(kind, value, group) for (kind, value), group in sorted(groups.items())]
    first = next(iter(groups.values()))[0]
    budget, why = recommend(results)
    return Calibration(first.device, first.dtype, results, budget, why)


def recommend(results: Sequence[SizeResult]) -> tuple[int, str]:
    """Chooses a token budget.

    Args:
        results: One for each size.

    Returns:
        The smallest budget that is as fast as the fastest, and why.
    """
    budgets = [r for r in results if r.kind == "tokens"]
    fastest = max(budgets, key=lambda r: r.tokens_per_second)
    if not fastest.texts_per_second:
        smallest = min(budgets, key=lambda r: r.value)
        return smallest.value // 2, f"not even {smallest.value:,} tokens fit into memory"
    near = [r for r in budgets if r.tokens_per_second >= (1 - _TIE) * fastest.tokens_per_second]
    chosen = min(near, key=lambda r: r.value)
    why = f"{chosen.texts_per_second:,.0f} texts/s, the highest median"
    if chosen is not fastest:
        why = (
            f"{chosen.texts_per_second:,.0f} texts/s, within {_TIE:.0%} of the highest median "
            f"({fastest.texts_per_second:,.0f} with {fastest.value:,}), with {chosen.peak_mebibytes:,.0f} instead of "
            f"{fastest.peak_mebibytes:,.0f} MiB"
        )
    rows = [r for r in results if r.kind == "rows" and r.texts_per_second]
    if rows:
        best = max(rows, key=lambda r: r.texts_per_second)
        ratio = chosen.texts_per_second / best.texts_per_second
        why += f"; {ratio:.2f} times the best fixed number of rows ({best.value})"
    return chosen.value, why


def _result(kind: str, value: int, group: Sequence[Row]) -> SizeResult:
    fitted = [row for row in group if row.texts]
    latencies = [seconds for row in fitted for seconds in row.latencies]
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist() if latencies else (0.0, 0.0, 0.0)
    all_fitted = len(fitted) == len(group)
    computed = sum(row.computed for row in fitted)
    return SizeResult(
        kind=kind,
        value=value,
        texts_per_second=median(row.texts / row.seconds for row in fitted) if all_fitted else 0.0,
        tokens_per_second=median(row.tokens / row.seconds for row in fitted) if all_fitted else 0.0,
        padding=1 - sum(row.tokens for row in fitted) / computed if computed else 0.0,
        p50=p50,
        p95=p95,
        p99=p99,
        peak_mebibytes=max(row.peak_mebibytes for row in group),
    )
