"""The calibration job: finds the fastest forward-pass size for this model, library and machine."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from pyspark.sql import Row, SparkSession
from rich.console import Console
from rich.table import Table

from schemas.errors import InputError
from schemas.worker_rows import TRIALS
from spark_jobs.embedding.folder import with_texts
from spark_jobs.embedding.sampling import sample_chunks
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, guarded, output, session
from spark_jobs.runtime.inference import inference_profile
from spark_jobs.runtime.json_text import json_text
from spark_jobs.runtime.query_log import silent_query_log
from spark_jobs.runtime.spark_errors import reading
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import chunk_spec, inference_spec
from spark_jobs.sources.source import open_source
from udfs.embed import calibrate_arrow

# Sizes with rates this close count as equally fast; the smaller one leaves more memory.
_TIE = 0.03


@dataclass(frozen=True)
class SizeResult:
    """Rates, latencies and memory of forward passes of one size, over all rounds.

    Attributes:
        kind: What limits a pass: `rows` or `tokens`.
        value: Texts or tokens of a pass.
        texts_per_second: Median over the rounds; 0 if a pass did not fit into memory.
        tokens_per_second: Likewise.
        padding: Share of the computed tokens that were padding.
        p50: Median duration of a pass, in seconds.
        p95: 95th percentile of the duration, in seconds.
        p99: 99th percentile of the duration, in seconds.
        peak_mebibytes: Peak memory over all rounds.
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
    """The result of a calibration.

    Attributes:
        device: Torch device name.
        dtype: Data type of the forward pass.
        results: One for each size.
        token_budget: The recommended value of `inference.token_budget`.
        why: The reason for the recommendation, in words.
    """

    device: str
    dtype: str
    results: Sequence[SizeResult]
    token_budget: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the calibration for JSON."""
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


def run(
    spark: SparkSession, settings: Settings, console: Console, out: Path, texts: int = 256, rounds: int = 3
) -> Calibration:
    """Embeds a sample of the library in forward passes of many sizes; writes nothing to the store.

    Args:
        spark: A live session.
        settings: The whole configuration.
        console: Where to print.
        out: Folder for `calibration.json` and `calibration.png`.
        texts: Chunks in the sample.
        rounds: How often to try each size.

    Returns:
        The calibration, which is also printed and written.

    Raises:
        InputError: The source has no text, or the folder cannot be written.
    """
    inference = inference_spec(settings)
    with silent_query_log():
        settings = with_texts(spark, settings)
        source, chunking = open_source(spark, settings.source), chunk_spec(settings, inference.model)
        sample = sample_chunks(settings, source, chunking, inference.model, texts).repartition(1)
        profile = inference_profile(spark, settings.inference)
        with reading("the source"):
            rows = sample.mapInArrow(calibrate_arrow(inference, rounds), TRIALS, profile=profile).collect()
    if not rows:
        raise InputError("the source has no text to calibrate with. Check source.path, source.table and source.filter.")
    calibration = as_calibration(rows)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "calibration.json").write_text(json_text(calibration.as_dict(), indent=1) + "\n")
        save_plot(calibration, out / "calibration.png")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}. Name another folder by --out.") from error
    console.print(calibration.table())
    recommendation = f"inference.token_budget: {calibration.token_budget}  # {calibration.why}"
    console.print(recommendation, highlight=False, soft_wrap=True)
    return calibration


def as_calibration(rows: Iterable[Row]) -> Calibration:
    """Summarizes one or more trials (rows of `schemas.worker_rows.TRIALS`)."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.value), []).append(row)
    results = [_result(kind, value, group) for (kind, value), group in sorted(groups.items())]
    first = next(iter(groups.values()))[0]
    budget, why = recommend(results)
    return Calibration(first.device, first.dtype, results, budget, why)


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


def recommend(results: Sequence[SizeResult]) -> tuple[int, str]:
    """Returns the smallest token budget that is as fast as the fastest one, and why it is recommended."""
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


def save_plot(calibration: Calibration, path: Path) -> None:
    """Plots rates and latencies of fixed rows and of token budgets to a PNG; InputError if matplotlib is missing."""
    try:
        # This backend needs neither a window nor a display.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "drawing needs matplotlib, which is not installed. Run pip install 'embedlake[calibrate]'."
        ) from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    rates, latencies = figure.subplots(1, 2)
    for kind, marker in (("rows", "s"), ("tokens", "o")):
        results = [result for result in calibration.results if result.kind == kind and result.texts_per_second]
        # Passes of a fixed number of rows are plotted at their mean tokens, so both kinds share one axis.
        sizes = [r.tokens_per_second * r.p50 if kind == "rows" else r.value for r in results]
        rates.plot(sizes, [r.texts_per_second for r in results], marker=marker, label=f"fixed {kind}")
        latencies.plot(sizes, [1000 * r.p50 for r in results], marker=marker, label=f"{kind}, median")
        latencies.plot(sizes, [1000 * r.p99 for r in results], marker=marker, linestyle=":", label=f"{kind}, p99")
    rates.axvline(calibration.token_budget, color="gray", linewidth=0.8)
    for axes, label in ((rates, "texts/s"), (latencies, "milliseconds of a pass")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens of a pass")
        axes.set_ylabel(label)
        axes.legend()
    figure.suptitle(f"{calibration.device}, {calibration.dtype}: inference.token_budget {calibration.token_budget}")
    figure.savefig(path, dpi=120)


def command(
    config: Config,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Write figures and a plot to this folder.")] = Path("calibration"),
    texts: Annotated[int, typer.Option(min=16, help="Try this many chunks of the library.")] = 256,
    rounds: Annotated[int, typer.Option(min=3, help="Try each size this many times.")] = 3,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Try sizes of forward passes on the library's own texts and recommend one."""
    guarded(
        lambda settings: run(session(settings, debug), settings, output(), out, texts, rounds),
        config,
        overrides,
        debug,
        log_format,
    )


if __name__ == "__main__":
    typer.run(command)
