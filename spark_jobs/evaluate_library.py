"""The evaluation job: how good retrieval from a space is, measured by queries with relevance judgments.

Start it as `embedlake evaluate --config F --queries Q --judgements J`, or with `--pairs P` for the model alone.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.evaluation import pairs as evaluate_pairs
from spark_jobs.evaluation.judgements import JudgedQueries, read_judged
from spark_jobs.evaluation.measures import require_measures
from spark_jobs.evaluation.pairs import PairScores
from spark_jobs.evaluation.report import Evaluation, record_evaluation, rows_of
from spark_jobs.evaluation.spaces import evaluate_spaces
from spark_jobs.runtime.command import AsJson, Config, Debug, K, LogAs, Overrides, guarded, session, show
from spark_jobs.runtime.json_text import json_text
from spark_jobs.runtime.report import out_faults, write_out
from spark_jobs.search.queries import read_queries
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.open_space import open_space
from spark_jobs.store.tables import delta_session

MOST_K = 10_000


def run(
    spark: SparkSession,
    settings: Settings,
    *,
    queries: Path | None = None,
    judgements: Path | None = None,
    pairs: Path | None = None,
    space: str | None = None,
    against: str | None = None,
    k: int = 10,
    out: Path | None = None,
    keep_identical_ids: bool = False,
) -> Evaluation | PairScores:
    """Evaluates a space of the library against relevance judgments, or the configured model by sentence pairs.

    The result is also appended to the store's `evaluations` table.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        queries: File of queries in BEIR's format (JSON lines) or any other that a search reads, with `judgements`.
        judgements: File of relevance judgments (qrels) in BEIR's or TREC's format, with `queries`.
        pairs: File of sentence pairs with a score, instead of `queries` and `judgements`.
        space: The space to evaluate instead of the library's active one.
        against: A second space of the library to compare with, searched with its own model.
        k: A cutoff for the measures in addition to the usual ones, from 1 to 10,000.
        out: File for the result as JSON; it is overwritten.
        keep_identical_ids: Whether a document counts for the query with its id, as published scores do not have it.

    Returns:
        The result; print it for a summary.

    Raises:
        InputError: Options or files are wrong, a space cannot be searched, or a result cannot be written.
    """
    retrieval = {
        "--queries": queries,
        "--judgements": judgements,
        "--space": space,
        "--against": against,
        "--keep-identical-ids": keep_identical_ids or None,
    }
    faults = _option_faults(pairs, retrieval, k, out)
    if faults:
        raise InputError(faults)
    settings = with_file_system(spark, settings)
    result: Evaluation | PairScores
    if pairs is not None:
        result = evaluate_pairs.run(spark, settings, pairs)
    elif queries is not None and judgements is not None:
        require_measures()
        with delta_session(spark):
            judged = read_judged(queries, judgements, partial(read_queries, spark))
            result = _evaluated(spark, settings, judged, space, against, k, keep_identical_ids)
            record_evaluation(spark, settings, rows_of(result))
    else:
        raise InputError("--queries and --judgements go together. Name both files, or --pairs alone.")
    if out is not None:
        write_out(out, result.as_dict(), "The result is in the table evaluations nevertheless.")
    return result


def _evaluated(
    spark: SparkSession,
    settings: Settings,
    judged: JudgedQueries,
    name: str | None,
    against: str | None,
    k: int,
    keep_identical_ids: bool,
) -> Evaluation:
    space = open_space(spark, settings, name)
    if against is not None and space.name == f"{settings.library}.{against}":
        raise InputError(f"--against {against} is the space itself. Name another one.")
    other = open_space(spark, settings, against) if against is not None else None
    return evaluate_spaces(space, other, judged, k, keep_identical_ids)


def _option_faults(
    pairs: Path | None,
    retrieval: Mapping[str, object],
    k: int,
    out: Path | None,
) -> list[str]:
    faults = []
    given = [name for name, value in retrieval.items() if value is not None]
    if pairs is not None and given:
        faults.append(f"--pairs does not go with {' and '.join(given)}. Leave out one or the other.")
    if not 1 <= k <= MOST_K:
        faults.append(f"-k is {k}. Ask for 1 to {MOST_K:,} documents.")
    faults += out_faults(out)
    return faults


def command(
    config: Config,
    queries: Annotated[Path | None, typer.Option(help="Read queries in BEIR's format, or as search does.")] = None,
    judgements: Annotated[Path | None, typer.Option(help="Read judgements (qrels) in BEIR's or TREC's format.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Evaluate this space of the library instead of its active one.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Compare with another space of this library.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Read sentence pairs with a score instead.")] = None,
    k: K = 10,
    keep_identical_ids: Annotated[
        bool, typer.Option("--keep-identical-ids", help="Count the document that has its query's id.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the result to a JSON file.")] = None,
    as_json_text: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Evaluate retrieval against relevance judgements, or the model by sentence pairs."""

    def job(settings: Settings) -> None:
        result = run(
            session(settings, debug),
            settings,
            queries=queries,
            judgements=judgements,
            pairs=pairs,
            space=space,
            against=against,
            k=k,
            out=out,
            keep_identical_ids=keep_identical_ids,
        )
        show(json_text(result.as_dict(), indent=1) if as_json_text else str(result))

    guarded(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
