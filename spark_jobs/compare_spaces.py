"""The comparison job: whether another model, prompt or chunking is better, and what it costs, by a sample.

Start it as `embedlake compare --config F --space next --set model.path=...`, or in a live session:

    from spark_jobs.compare_spaces import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml", ["model.path=/models/other"]), "next"))
"""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError
from spark_jobs.embedding.folder import with_texts
from spark_jobs.embedding.preflight import PreflightResult, run_preflight
from spark_jobs.embedding.sample import EmbeddedSample, Sample, draw_sample, embed_sample, hold_stored
from spark_jobs.evaluation.cost import BuildCost, build_cost, estimate_tokens
from spark_jobs.evaluation.judgements import JudgedQueries, read_judged
from spark_jobs.evaluation.measures import overlaps, search_depth
from spark_jobs.evaluation.sampled import (
    draw_queries,
    estimate_difference,
    mean_interval,
    relevant_to_any,
)
from spark_jobs.evaluation.sampled_report import (
    JUDGED,
    SAMPLED,
    ComparedSpace,
    NeighbourOverlap,
    SampledComparison,
    SampledQuality,
    SampleFacts,
)
from spark_jobs.evaluation.sampled_retrieval import (
    ComparedRows,
    JudgedHits,
    SampledSpace,
    search_judged,
    search_neighbours,
)
from spark_jobs.runtime.command import AsJson, Config, Debug, K, LogAs, Overrides, guarded, show, watched_session
from spark_jobs.runtime.json_text import json_text
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.report import out_faults, write_out
from spark_jobs.search.queries import read_queries
from spark_jobs.settings.loading import Settings, with_space
from spark_jobs.sources.source import check_ids
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.open_space import OpenSpace, open_space, search_model
from spark_jobs.store.properties import for_rows
from spark_jobs.store.space_facts import chunking_text
from spark_jobs.store.tables import delta_session

MOST_DOCUMENTS = 20_000
_MOST_K = 100

Space = Annotated[str, typer.Option("--space", help="The name of the space that could be built.")]
SampleSize = Annotated[int, typer.Option("--sample", help=f"Number of documents, at most {MOST_DOCUMENTS:,}.")]


def run(
    spark: SparkSession,
    settings: Settings,
    space: str,
    *,
    sample: int = 2_000,
    queries: Path | None = None,
    judgements: Path | None = None,
    seed: int = 0,
    k: int = 10,
    out: Path | None = None,
    progress: Progress | None = None,
) -> SampledComparison:
    """Compares the space that the settings describe with the library's active space; writes nothing to the store.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration, with the model and chunking rule to try.
        space: Name of the space that could be built, which need not exist.
        sample: Number of documents to embed, from 1 to 20,000.
        queries: File of queries in BEIR's format or any other that a search reads, with `judgements`.
        judgements: File of relevance judgments in BEIR's or TREC's format, with `queries`.
        seed: Decides what is drawn: the same seed draws the same documents and queries.
        k: Number of nearest documents to compare, and cutoff of nDCG, from 1 to 100.
        out: File for the result as JSON; it is overwritten.
        progress: Where progress is shown; None shows nothing.

    Returns:
        The comparison; print it for a summary.

    Raises:
        InputError: Options, files or settings are wrong, or there is nothing to compare.
    """
    faults = _option_faults(queries, judgements, sample, k, out)
    if faults:
        raise InputError(faults)
    settings = with_space(settings, space)
    with delta_session(spark):
        settings = with_file_system(spark, settings)
        judged = None
        if queries is not None and judgements is not None:
            judged = read_judged(queries, judgements, partial(read_queries, spark))
        result = _compared(spark, settings, judged, sample, seed, k, progress or Progress())
    if out is not None:
        write_out(out, result.as_dict(), "Name another file.")
    return result


def _compared(
    spark: SparkSession,
    settings: Settings,
    judged: JudgedQueries | None,
    count: int,
    seed: int,
    k: int,
    progress: Progress,
) -> SampledComparison:
    with progress.step("pre-flight"):
        settings = with_texts(spark, settings)
        preflight = run_preflight(spark, settings, only_texts=True)
        baseline = _baseline(spark, settings, preflight)
        model = search_model(baseline) if judged is not None else None
        documents = check_ids(preflight.source, settings.source)
    with session_properties(spark, for_rows(documents)):
        with progress.step("draw"):
            drawn = draw_queries(judged, count // 2, seed) if judged is not None else None
            sample = _sample(settings, preflight, baseline, drawn, count, seed)
        embedded = embed_sample(spark, settings, preflight, sample, progress)
        with progress.step("search"):
            rows, quality = _rows(baseline, embedded, sample), None
            if judged is not None and drawn is not None and model is not None:
                models = model, embedded.inference
                hits = search_judged(rows, models, drawn, settings.inference, search_depth(k))
                quality = _quality(judged, drawn, sample, hits, k, seed)
                shares, of = overlaps(hits.baseline, hits.candidate, k), JUDGED
            else:
                shares, of = overlaps(*search_neighbours(rows, sample.characters, k, seed), k), SAMPLED
            chunks = rows.baseline.rows.count()
    return SampledComparison(
        baseline=_stored(baseline, preflight.registry.active, chunks),
        candidate=_described(settings, preflight, embedded.chunks),
        sample=_facts(sample, embedded, seed),
        quality=quality,
        overlap=NeighbourOverlap(mean_interval(shares, seed), k, len(shares), of),
        cost=_cost(settings, sample, embedded),
    )


def _baseline(spark: SparkSession, settings: Settings, preflight: PreflightResult) -> OpenSpace:
    active = preflight.registry.active
    if active is None:
        raise InputError(f"library {settings.library} has no space yet to compare with. Run embedlake embed.")
    ours = (preflight.model_fingerprint, preflight.chunking_fingerprint)
    if ours == (active.model_fingerprint, active.chunking_fingerprint):
        raise InputError(
            f"the settings describe model and chunking rule of the active space {active.space}, so there is nothing "
            "to compare. Change them, as in --set model.path=... (another query prompt needs no other space)."
        )
    return open_space(spark, settings)


def _sample(
    settings: Settings,
    preflight: PreflightResult,
    baseline: OpenSpace,
    drawn: JudgedQueries | None,
    count: int,
    seed: int,
) -> Sample:
    wanted = relevant_to_any(drawn) if drawn is not None else set[str]()
    sample = draw_sample(settings, preflight, baseline.vectors.rows, wanted, count, seed)
    if drawn is not None and not sample.certain:
        raise InputError(
            f"source and space {baseline.name} have none of the {len(wanted):,} relevant documents in "
            f"{drawn.judgements_file.path}. Name the judgements of this library."
        )
    return sample


def _rows(baseline: OpenSpace, embedded: EmbeddedSample, sample: Sample) -> ComparedRows:
    stored = baseline.dimension, baseline.precision, baseline.ranges
    model = embedded.inference.model
    return ComparedRows(
        baseline=SampledSpace(hold_stored(baseline.vectors.rows, sample, baseline.dimension), *stored),
        candidate=SampledSpace(embedded.rows, model.dimension, model.precision, embedded.inference.ranges),
        whole=SampledSpace(baseline.vectors.rows, *stored),
    )


def _quality(
    judged: JudgedQueries, drawn: JudgedQueries, sample: Sample, hits: JudgedHits, k: int, seed: int
) -> SampledQuality:
    estimate = estimate_difference(
        drawn, sample.certain, sample.fraction, hits.baseline, hits.candidate, hits.whole, k, seed
    )
    return SampledQuality(
        queries=len(drawn.queries),
        queries_left_out=len(judged.queries) - len(drawn.queries),
        unknown_documents=len(relevant_to_any(drawn)) - len(sample.certain),
        k=k,
        estimate=estimate,
    )


def _cost(settings: Settings, sample: Sample, embedded: EmbeddedSample) -> BuildCost:
    tokens = estimate_tokens(
        sample.characters, embedded.tokens, sample.certain, sample.others, sample.source_characters
    )
    total = sum(embedded.tokens.values())
    return build_cost(total, tokens, embedded.embedded_tokens, embedded.seconds, embedded.slots, settings.cost)


def _stored(space: OpenSpace, row: Row | None, chunks: int) -> ComparedSpace:
    rule = chunking_text(json.loads(row.chunking)) if row is not None else "unknown"
    return ComparedSpace(space.name, space.model_path, space.model_fingerprint, rule, chunks)


def _described(settings: Settings, preflight: PreflightResult, chunks: int) -> ComparedSpace:
    name, model = f"{settings.library}.{settings.space}", preflight.inference.model.path
    rule = chunking_text(asdict(preflight.chunking))
    return ComparedSpace(name, model, preflight.model_fingerprint, rule, chunks)


def _facts(sample: Sample, embedded: EmbeddedSample, seed: int) -> SampleFacts:
    return SampleFacts(
        documents=len(sample.characters),
        relevant=len(sample.certain),
        library_documents=sample.others + len(sample.certain),
        failed_chunks=embedded.failed,
        seed=seed,
    )


def _option_faults(queries: Path | None, judgements: Path | None, sample: int, k: int, out: Path | None) -> list[str]:
    faults = []
    if (queries is None) != (judgements is None):
        faults.append("--queries and --judgements go together. Name both files, or none.")
    if not 1 <= sample <= MOST_DOCUMENTS:
        faults.append(f"--sample is {sample}. Ask for 1 to {MOST_DOCUMENTS:,} documents.")
    if not 1 <= k <= _MOST_K:
        faults.append(f"-k is {k}. Ask for 1 to {_MOST_K:,} documents.")
    return faults + out_faults(out)


def command(
    config: Config,
    space: Space,
    sample: SampleSize = 2_000,
    queries: Annotated[Path | None, typer.Option(help="Read queries in BEIR's format, or as search does.")] = None,
    judgements: Annotated[Path | None, typer.Option(help="Read judgements (qrels) in BEIR's or TREC's format.")] = None,
    seed: Annotated[int, typer.Option(help="Draw other documents and queries.")] = 0,
    k: K = 10,
    out: Annotated[Path | None, typer.Option(help="Write the result to a JSON file.")] = None,
    as_json_text: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Try another model, prompt or chunking on a sample: quality, overlap, time and price."""

    def job(settings: Settings) -> None:
        with watched_session(settings, debug) as (spark, progress):
            result = run(
                spark,
                settings,
                space,
                sample=sample,
                queries=queries,
                judgements=judgements,
                seed=seed,
                k=k,
                out=out,
                progress=progress,
            )
        show(json_text(result.as_dict(), indent=1) if as_json_text else str(result))

    guarded(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
