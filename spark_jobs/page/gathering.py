"""Everything that a report shows, read from the store; nothing that grows with the library reaches the driver."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import Row, SparkSession

from schemas.runs import RUNS
from spark_jobs.page.contents import read_contents
from spark_jobs.page.facts import Calibrated, Contents, Coverage, PageFacts, Runs
from spark_jobs.page.history import read_runs
from spark_jobs.page.quality import read_changes, read_evaluations
from spark_jobs.page.vector_map import draw_map, require_color
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.loading import Settings
from spark_jobs.store.open_space import OpenSpace, find_space, open_space
from spark_jobs.store.properties import for_rows
from spark_jobs.store.registry import read_registry
from spark_jobs.store.runs import events
from spark_jobs.store.space_facts import find_spaces
from spark_jobs.store.tables import space_tables


@dataclass(frozen=True)
class Reported:
    """The space that a report is about.

    Attributes:
        settings: The configuration, which names it.
        row: Its row in the registry; None if no run has opened it yet.
        vectors: The space at one version; None if it has no vectors.
    """

    settings: Settings
    row: Row | None = None
    vectors: OpenSpace | None = None


def find_reported(spark: SparkSession, settings: Settings, space: str | None, color_by: str | None) -> Reported:
    """Finds the space that a report is about.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: The configuration, which names the library.
        space: A space of the library instead of its active one.
        color_by: Payload column by which the map is to be colored.

    Returns:
        The space; of a store that no run has written to, the settings' space.

    Raises:
        InputError: There is no space of that name, or the map cannot be colored by the column.
    """
    registry = read_registry(spark, settings)
    if space is None and registry.active is None:
        return Reported(settings)
    found = find_space(spark, settings, space)
    row = registry.find(found.settings.space)
    if not found.tables.exists("vectors"):
        return Reported(found.settings, row)
    opened = open_space(spark, settings, space)
    require_color(opened, color_by)
    return Reported(found.settings, row, opened)


def gather(
    spark: SparkSession,
    reported: Reported,
    coverage: Coverage,
    calibration: Calibrated | None,
    progress: Progress,
    color_by: str | None = None,
    with_texts: bool = True,
    seed: int = 0,
) -> PageFacts:
    """Reads what a report shows.

    Args:
        spark: The live session, with the properties of `delta_session`.
        reported: The space.
        coverage: How the source and the space differ.
        calibration: The result of a calibration, if one is to be shown.
        progress: Where progress is shown.
        color_by: Payload column by which the map is colored.
        with_texts: Whether the map has texts and ids.
        seed: Decides which vectors are drawn.

    Returns:
        The facts.
    """
    settings, row, opened = reported.settings, reported.row, reported.vectors
    tables = space_tables(spark, settings)
    with progress.step("read records"), session_properties(spark, for_rows(0)):
        runs = read_runs(events(tables)) if tables.exists(RUNS.name) else Runs()
        spaces = find_spaces(spark, settings)
        evaluations, changes = (read_evaluations(tables), read_changes(tables)) if spaces else ([], [])
    with progress.step("count"):
        contents = read_contents(spark, settings, row) if row is not None else Contents({}, {})
    points = None
    if opened is not None:
        with progress.step("draw vectors"), session_properties(spark, for_rows(opened.vectors.count)):
            points = draw_map(opened, color_by, with_texts, seed)
    return PageFacts(
        library=settings.library,
        space=settings.space,
        at=datetime.now(UTC),
        coverage=coverage,
        contents=contents,
        runs=runs,
        spaces=spaces,
        evaluations=evaluations,
        changes=changes,
        cost=settings.cost,
        map=points,
        calibration=calibration,
    )
