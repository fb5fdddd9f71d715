"""The picture of a calibration: rate and latency by size of a pass."""

from pathlib import Path

from schemas.errors import InputError
from spark_jobs.calibration_report import Calibration


def save_plot(found: Calibration, path: Path) -> None:
    """Draws rates and latencies, fixed rows beside token budgets.

    Args:
        found: The calibration.
        path: PNG file to write.

    Raises:
        InputError: There is no library to draw with.
    """
    try:
        # No window and no display: the picture is only written.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("drawing needs matplotlib: pip install 'embedlake[calibrate]'") from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    rates, latencies = figure.subplots(1, 2)
    for kind, marker in (("rows", "s"), ("tokens", "o")):
        results = [result for result in found.results if result.kind == kind and result.texts_per_second]
        # Of a row-sized pass the tokens are the mean: both kinds share one axis.
        sizes = [r.tokens_per_second * r.p50 if kind == "rows" else r.value for r in results]
        rates.plot(sizes, [r.texts_per_second for r in results], marker=marker, label=f"fixed {kind}")
        latencies.plot(sizes, [1000 * r.p50 for r in results], marker=marker, label=f"{kind}, median")
        latencies.plot(sizes, [1000 * r.p99 for r in results], marker=marker, linestyle=":", label=f"{kind}, p99")
    rates.axvline(found.token_budget, color="gray", linewidth=0.8)
    for axes, what in ((rates, "texts/s"), (latencies, "milliseconds of a pass")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens of a pass")
        axes.set_ylabel(what)
        axes.legend()
    figure.suptitle(f"{found.device}, {found.dtype}: inference.token_budget {found.token_budget}")
    figure.savefig(path, dpi=120)
