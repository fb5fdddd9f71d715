"""What the next run of a space would do and take; nothing is written, and the model is not loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.plan import ADDED, CHANGES
from spark_jobs.embedding.accounting import AHEAD, expect
from spark_jobs.embedding.cap import caps_of, most_tokens
from spark_jobs.embedding.comparing import check_comparison, compare_source, find_half_done
from spark_jobs.embedding.comparison import Comparison
from spark_jobs.embedding.documents import CHARACTERS_PER_TOKEN
from spark_jobs.embedding.folder import example_files, with_files, with_parsed
from spark_jobs.embedding.forecast import Forecast
from spark_jobs.embedding.plan import is_small
from spark_jobs.embedding.preflight import PreflightResult, run_preflight
from spark_jobs.embedding.sampling import characters_per_token
from spark_jobs.embedding.slicing import first_slice_tokens, slice_count
from spark_jobs.embedding.source_reading import SourceReading
from spark_jobs.embedding.store_state import StoreState, look_at_store
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.properties import for_rows
from udfs.models.source import weight_bytes

_EXAMPLES = 3


@dataclass(frozen=True)
class Outlook:
    """What the next run of a space would do.

    Attributes:
        library: The library.
        space: The space.
        source_version: Version of the source; None if it has none.
        how: How the differences were found, in words.
        documents: Documents by change, unchanged ones included.
        examples: A few ids by change; empty if more documents differ than the driver holds.
        forecast: What it would take.
        slices: Number of its commits of vectors; 0 if there is nothing to commit.
        is_held: Whether it would hold its work in memory instead of in tables.
        slots: Tasks that run at the same time.
        price: What it would cost; None if price or time are not known.
        currency: In which currency.
        caps: The caps in the settings, in words; empty if there are none.
        capped_tokens: Tokens after which a cap ends it; None if it would reach its end.
        files: How the folder and the table of its parsed files differ, in words; empty for other sources.
        files_differ: Whether they do.
        is_unfinished: Whether the last run has not finished, so that a run is at work, or the next one goes on.
        faults: Why the run would refuse to work; empty if it would not.
    """

    library: str
    space: str
    source_version: int | None
    how: str
    documents: Mapping[str, int]
    examples: Mapping[str, list[str]]
    forecast: Forecast
    slices: int
    is_held: bool
    slots: int
    price: float | None
    currency: str
    caps: str
    capped_tokens: int | None
    files: str
    files_differ: bool
    is_unfinished: bool
    faults: tuple[str, ...]

    @property
    def has_work(self) -> bool:
        """Whether a document differs, or an unfinished run left something to do."""
        return self.is_unfinished or self.files_differ or any(self.documents[change] for change in CHANGES)


def look_ahead(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    tokens_per_second: float | None = None,
    progress: Progress | None = None,
    reading: SourceReading | None = None,
) -> Outlook:
    """Finds out what the next run would do; see `spark_jobs.plan_library.run`."""
    progress = progress or Progress()
    with progress.step("pre-flight"), session_properties(spark, for_rows(0)):
        settings = with_parsed(spark, with_file_system(spark, settings))
        preflight = run_preflight(spark, settings, reading, retry_quarantined)
    with progress.step("compare"):
        state = look_at_store(spark, settings)
        retry_below = settings.run.max_attempts if retry_quarantined else 0
        with session_properties(spark, for_rows(state.documents)):
            half_done = find_half_done(state)
            found = compare_source(settings, preflight.source, preflight.reading, state, retry_below, half_done)
            found = with_files(found, preflight.folder)
    faults: tuple[str, ...] = ()
    try:
        check_comparison(settings, preflight.registry, found, allow_removals)
    except InputError as error:
        faults = error.faults
    with progress.step("forecast"), session_properties(spark, for_rows(found.documents)):
        slots = task_slots(spark)
        ratio = _ratio(settings, preflight, state, found)
        ahead = sum(progress.seconds.get(step, 0.0) for step in AHEAD)
        expected = expect(state, found, slots, ahead, ratio, tokens_per_second)
    return _outlook(settings, preflight, state, found, expected, slots, faults)


def _ratio(settings: Settings, preflight: PreflightResult, state: StoreState, found: Comparison) -> float:
    """Returns characters a token, from a few documents if no run of the space has counted any."""
    if state.before is not None or not found.by_change[ADDED]:
        return CHARACTERS_PER_TOKEN
    return characters_per_token(settings, preflight) or CHARACTERS_PER_TOKEN


def _outlook(
    settings: Settings,
    preflight: PreflightResult,
    state: StoreState,
    found: Comparison,
    expected: Forecast,
    slots: int,
    faults: tuple[str, ...],
) -> Outlook:
    model, run, folder = preflight.inference.model, settings.run, preflight.folder
    is_held = state.was_clean and is_small(settings, preflight.source, found, model.dimension)
    first = first_slice_tokens(weight_bytes(model), slots, run.slice_seconds)
    rate = expected.tokens_per_second or 0.0
    rows = found.stored_chunks + found.planned
    slices = 1 if is_held else slice_count(run, found.tokens, rows, first, rate)
    most = most_tokens(settings, expected)
    return Outlook(
        library=settings.library,
        space=settings.space,
        source_version=preflight.source.version,
        how=" · ".join([found.how, *preflight.source.notes]),
        documents=found.all_changes,
        examples=_examples(found.changes) | (example_files(folder, _EXAMPLES) if folder is not None else {}),
        forecast=expected,
        slices=slices if found.planned else 0,
        is_held=is_held,
        slots=slots,
        price=settings.cost.price_of(expected.seconds),
        currency=settings.cost.currency,
        caps=" and ".join(caps_of(settings)),
        capped_tokens=most if most is not None and most < expected.embedded else None,
        files=str(folder.counts) if folder is not None else "",
        files_differ=folder is not None and folder.counts.differ,
        is_unfinished=not state.was_clean,
        faults=faults,
    )


def _examples(changes: pa.Table | None) -> dict[str, list[str]]:
    """Returns a few ids of each change; none if the driver does not know them."""
    found: dict[str, list[str]] = {}
    if changes is not None:
        names: list[tuple[str, str]] = [
            (row["doc_id"], row["change"]) for row in changes.select(["doc_id", "change"]).to_pylist()
        ]
        for name, change in sorted(names):
            found.setdefault(change, []).append(name)
    return {change: found[change][:_EXAMPLES] for change in CHANGES if change in found}
