"""The report job: one page about a library, in a file that needs no network.

Start it as `embedlake report --config F --out report.html`, or in a live session:

    from pathlib import Path

    from spark_jobs.report_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml"), Path("report.html")))
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.filesize import decimal

from schemas.errors import InputError
from spark_jobs.embedding.backlog import backlog_of
from spark_jobs.page.calibration import read_calibration
from spark_jobs.page.facts import Coverage, PageFacts
from spark_jobs.page.gathering import find_reported, gather
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, reported
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.report import out_faults, render_lines, write_text_out
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.properties import for_rows
from spark_jobs.store.tables import delta_session

_MISSING = "a report needs packages that are not installed. Run pip install 'embedlake[report]'."

Out = Annotated[Path, typer.Option("--out", help="Write the page to this file.")]
SpaceName = Annotated[str | None, typer.Option("--space", help="Report another space of the library.")]
ColorBy = Annotated[str | None, typer.Option("--color-by", metavar="COLUMN", help="Color the map by a payload column.")]
WithoutTexts = Annotated[bool, typer.Option("--without-texts", help="Leave every text and id out of the page.")]
CalibrationFile = Annotated[
    Path | None, typer.Option("--calibration", help="Show the calibration.json that calibrate wrote.")
]
Seed = Annotated[int, typer.Option(help="Draw other vectors for the map.")]


@dataclass(frozen=True)
class PageReport:
    """What was written; print it for a summary.

    Attributes:
        out: The file.
        size: Its bytes.
        facts: What the page shows.
    """

    out: Path
    size: int
    facts: PageFacts

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        facts, points = self.facts, len(self.facts.map.points) if self.facts.map is not None else 0
        return render_lines(
            [
                ("page", f"{self.out} · {decimal(self.size)}"),
                ("space", f"{facts.library}.{facts.space}"),
                (
                    "shows",
                    f"{facts.contents.documents:,} documents · {facts.contents.chunks:,} chunks · "
                    f"{len(facts.runs.shown):,} of {facts.runs.total:,} runs · {points:,} vectors on the map",
                ),
            ]
        )


def run(
    spark: SparkSession,
    settings: Settings,
    out: Path,
    *,
    space: str | None = None,
    color_by: str | None = None,
    with_texts: bool = True,
    calibration: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PageReport:
    """Writes a page about a library; writes nothing to the store.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        out: The file, which is overwritten.
        space: A space of the library to report instead of its active one.
        color_by: Payload column by which the map of vectors is colored; None for the first one with few values.
        with_texts: Whether the map shows texts and ids of documents.
        calibration: What `embedlake calibrate` wrote, to be shown too.
        seed: Decides which vectors are drawn for the map: the same seed draws the same.
        progress: Where progress is shown; None shows nothing.

    Returns:
        What was written; `str` renders the summary.

    Raises:
        InputError: A package is missing, an option is wrong, or the file cannot be written.
    """
    require_packages()
    faults = out_faults(out)
    try:
        calibrated = read_calibration(calibration) if calibration is not None else None
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    progress = progress or Progress()
    with delta_session(spark):
        with progress.step("open"):
            settings = with_file_system(spark, settings)
            found = find_reported(spark, settings, space, color_by)
        # A library is as large as its space, or is compared with nothing.
        size = for_rows(found.vectors.vectors.count) if found.vectors is not None else {}
        with progress.step("compare source"), session_properties(spark, size):
            backlog = backlog_of(spark, found.settings)
        coverage = Coverage(backlog.documents, backlog.version, backlog.faults, backlog.note)
        facts = gather(spark, found, coverage, calibrated, progress, color_by, with_texts, seed)
    with progress.step("write"):
        # Only here: whoever makes no report need not have its packages.
        from spark_jobs.page.render import render_page

        page = render_page(facts)
        write_text_out(out, page, "Name another file.")
    return PageReport(out, len(page.encode()), facts)


def require_packages() -> None:
    """Raises InputError if a package that draws the page is not installed."""
    try:
        import altair
        import jinja2
        import vl_convert
    except ImportError as error:
        raise InputError(_MISSING) from error
    del altair, jinja2, vl_convert


def command(
    config: Config,
    out: Out,
    space: SpaceName = None,
    color_by: ColorBy = None,
    without_texts: WithoutTexts = False,
    calibration: CalibrationFile = None,
    seed: Seed = 0,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Write one page about the library: coverage, chunks, runs, cost, quality, a map of vectors."""

    def job(spark: SparkSession, settings: Settings, progress: Progress) -> object:
        return run(
            spark,
            settings,
            out,
            space=space,
            color_by=color_by,
            with_texts=not without_texts,
            calibration=calibration,
            seed=seed,
            progress=progress,
        )

    reported(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
