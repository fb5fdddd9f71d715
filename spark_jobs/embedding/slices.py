"""Works through slices: chunk, embed, commit. Staged rows come first, then vectors, then the ledger."""

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.runs import SLICE_COMMITTED
from schemas.staged import STAGED, STAGED_CHUNKS
from spark_jobs.embedding.active_chunks import ActiveChunks, find_active_chunks
from spark_jobs.embedding.cap import Spent, fits, room_left
from spark_jobs.embedding.forecast import Forecast
from spark_jobs.embedding.merging import as_ledger_changes, as_outcomes, as_vector_changes, merge_ledger, merge_vectors
from spark_jobs.embedding.report import unread_warning
from spark_jobs.embedding.reuse import find_vectors, staged_rows
from spark_jobs.embedding.run import Run, check_still_ours, record
from spark_jobs.embedding.slicing import Group, Slice, Work, first_slice_tokens, next_slice, slice_bound, with_rest
from spark_jobs.embedding.staging import only_planned, stage_chunks, stage_vectors
from spark_jobs.embedding.tally import Tally
from spark_jobs.embedding.telling import tell_slice
from spark_jobs.runtime.held_rows import each_in_memory
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.threads import one_behind
from spark_jobs.store.versions import PinnedVectors
from udfs.models.source import weight_bytes


@dataclass(frozen=True)
class StagedSlice:
    """A slice whose chunks and vectors are staged, and nothing of which is visible yet.

    Attributes:
        slice_: The slice.
        plan: Its plan rows.
        chunks: Its staged chunks.
        vectors: The staged vectors that it can use.
        counts: Its counts.
        is_fresh: Whether none of its documents has a stored chunk.
    """

    slice_: Slice
    plan: DataFrame
    chunks: DataFrame
    vectors: DataFrame
    counts: Counter[str]
    is_fresh: bool


def embed_slices(
    run: Run, work: Work, before: PinnedVectors | None, expected: Forecast, tally: Tally, progress: Progress
) -> tuple[Group, ...]:
    """Does the work of a run slice by slice, up to its cap, and adds each slice to the tally once it is committed.

    A slice is committed while the next one is embedded: commits wait for files, and inference for processors or GPUs.

    Args:
        run: The run.
        work: What it has to do.
        before: The space's vectors as they were before the first slice of the run. A text that moves from one document
            to another may have left `vectors` before the slice that looks for it. None if there were none.
        expected: What the run is expected to take.
        tally: Receives each slice once it is committed.
        progress: Where progress is shown.

    Returns:
        The work that is left because of a cap; empty if all is done.
    """
    settings, groups, last_tokens, number = run.settings.run, work.groups, 0, 0
    embedded, began = 0, time.monotonic()
    weights, active = weight_bytes(run.preflight.inference.model), find_active_chunks(run, work)
    with one_behind(run.tables.spark, f"{run.run_id} commits") as hand_over:
        while groups:
            # Clusters grow during a run; over Connect, counting slots takes a separate job.
            slots = task_slots(run.tables.spark)
            first = first_slice_tokens(weights, slots, settings.slice_seconds)
            left = sum(group.tokens for group in groups)
            spent = Spent(work.tokens - left, embedded, progress.figures.seconds, time.monotonic() - began)
            room = room_left(run.settings, work, expected, spent)
            if not fits(groups, room):
                break
            rate = (last_tokens, work.tokens - left, tally.slice_seconds)
            bound = slice_bound(settings.slice_tokens, settings.slice_seconds, first, *rate)
            bound, number = with_rest(settings.slice_tokens, bound, left), number + 1
            capped = bound if room is None else max(0.0, min(bound, room))
            slice_, groups = next_slice(groups, number, capped, settings.slice_rows)
            shown = progress.of_slice(number, work.tokens - left, slice_.tokens, slice_.documents)
            staged = stage_slice(run, slice_, before, active, slots, tally, shown)
            hand_over(partial(_finish, run, work, staged, tally, shown, is_last=not groups))
            last_tokens, embedded = slice_.tokens, embedded + staged.counts["tokens_embedded"]
    return groups


def stage_slice(
    run: Run,
    slice_: Slice,
    before: PinnedVectors | None,
    active: ActiveChunks | None,
    slots: int,
    tally: Tally,
    progress: Progress,
) -> StagedSlice:
    """Chunks and embeds one slice.

    Args:
        run: The run.
        slice_: The slice.
        before: The space's vectors as they were before the first slice of the run; None if there were none.
        active: The library's active space, if its chunks can be taken; else None.
        slots: Tasks that run at the same time.
        tally: Receives the slice's inference.
        progress: Where progress is shown.

    Returns:
        What is to be committed.
    """
    plan = run.tables.read("plan").where(F.col("slice_key").between(slice_.first_key, slice_.last_key))
    with progress.step("chunk"):
        # Earlier slices of this run, one of which may be about to be committed, store chunks of other documents only.
        stored = only_planned(run.tables.read("vectors"), plan, slice_.documents) if before is not None else None
        chunked = stage_chunks(run, slice_, plan, stored, slots, active)
    here = (F.col("run_id") == run.run_id) & (F.col("slice_number") == slice_.number)
    chunks = run.tables.read(STAGED_CHUNKS.name).where(here)
    counts = counted_chunks(slice_, chunked, progress)
    usable = find_vectors(run, slice_, chunks, chunked["new"], before, progress)
    if chunked["new"]:
        with progress.step("embed"):
            counts += stage_vectors(run, slice_, chunks, staged_rows(run, usable), slots, tally, progress, chunked)
            counts["tokens_saved"] -= counts["tokens_embedded"]
    return StagedSlice(slice_, plan, chunks, staged_rows(run, usable), counts, is_fresh=not chunked["stored"])


def _finish(run: Run, work: Work, staged: StagedSlice, tally: Tally, progress: Progress, is_last: bool) -> None:
    """Commits a slice, whose documents become visible together, and records it."""
    slice_ = staged.slice_
    # People are shown the steps that the run waits for.
    shown = progress if is_last else progress.behind()
    commit_slice(run, slice_, staged.plan, staged.chunks, staged.vectors, shown, staged.is_fresh)
    # Delta skips an overtaken run's commits without an error, so they must not count as committed.
    check_still_ours(run)
    tally.add_slice(staged.counts, slice_.documents, slice_.tokens)
    if slice_.number > 1 or not is_last:
        # The end of the run records a single slice.
        record(run, SLICE_COMMITTED, staged.counts, tally, slice_.number)
    tell_slice(slice_, work, tally, progress)


def counted_chunks(slice_: Slice, chunked: Counter[str], progress: Progress) -> Counter[str]:
    """Begins a slice's counts with those of its chunks, and warns of a library that the model can hardly read."""
    counts: Counter[str] = Counter(chunks=chunked["chunks"], tokens_saved=chunked["tokens"])
    counts.update(tokens_unknown=chunked["unknown"], chunks_unread=chunked["unread"])
    counts.update(chunks_taken=chunked["taken"], tokens_taken=chunked["tokens_taken"])
    counts.update(tokens_kept=chunked["tokens"] - chunked["tokens_new"])
    # Said before the first slice is embedded, because inference is what costs.
    if slice_.number == 1 and (warning := unread_warning(counts)):
        progress.warn(warning)
    return counts


def commit_slice(
    run: Run,
    slice_: Slice,
    plan: DataFrame,
    chunks: DataFrame,
    staged: DataFrame,
    progress: Progress,
    is_fresh: bool,
    is_held: bool = False,
) -> None:
    """Commits a slice to `vectors`, then to `ledger`.

    Args:
        run: The run.
        slice_: The slice.
        plan: Its plan rows.
        chunks: Its staged chunks.
        staged: The staged vectors that it can use.
        progress: Where progress is shown.
        is_fresh: Whether none of its documents has a stored chunk.
        is_held: Whether the run is so small that the driver holds the rows of both commits.

    Raises:
        RunActiveError: A later run has taken over. After the commits, the caller must ask again.
    """
    spark, payload, keep = run.tables.spark, run.preflight.source.payload, run.settings.run.on_failed_update == "keep"
    changes = as_vector_changes(plan, chunks, staged, run.state.vectors, payload, run.run_id, keep)
    outcomes = as_ledger_changes(plan, as_outcomes(chunks, staged, keep), run.preflight.source.version, run.run_id)
    few = is_held and run.state.is_large
    check_still_ours(run)
    with progress.step("merge vectors"):
        if is_held:
            changes, outcomes = each_in_memory(changes, outcomes)
        with run.fence.commit(spark) as is_fenced:
            merge_vectors(changes, run.tables, run.state.vectors, is_fresh, is_fenced, few)
    with progress.step("merge ledger"), run.fence.commit(spark) as is_fenced:
        merge_ledger(outcomes, run.tables, is_fenced and slice_.added == slice_.documents, few)


def empty_work_tables(run: Run, was_staged: bool) -> None:
    """Empties the tables of work in flight at the end of a run.

    Args:
        run: The run.
        was_staged: Whether the run itself wrote to them. A run that finished left them empty.
    """
    if run.is_clean and not was_staged:
        return
    for table in ("plan", *(staged.name for staged in STAGED)):
        if run.tables.exists(table):
            with run.fence.commit(run.tables.spark):
                run.tables.empty(table)
