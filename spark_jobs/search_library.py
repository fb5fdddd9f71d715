"""The search job: exact top-k over a space, for one question or for thousands of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated

import typer
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from schemas.errors import InputError
from spark_jobs.runtime.command import AsJson, Config, Debug, K, Overrides, guarded, session, show
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.search.hits import SearchResult, as_json, as_lines
from spark_jobs.search.nearest import SearchOptions, matching, nearest, queries_per_scan
from spark_jobs.search.queries import Query, embed_queries, read_queries
from spark_jobs.settings.loading import Settings
from spark_jobs.store.open_space import OpenSpace, open_space, search_model
from spark_jobs.store.tables import delta_session

Where = Annotated[str | None, typer.Option(help="Boolean SQL expression: \"package = 'numpy'\".")]
PerDocument = Annotated[bool, typer.Option("--per-document", help="Documents, each by its best chunk.")]
Rescore = Annotated[bool, typer.Option("--rescore", help="Queries stay float32 in a space of int8 or binary.")]
Space = Annotated[str | None, typer.Option(help="Another space of the library than the settings'.")]

# Named in a message, of those whose end the model did not see.
_NAMED = 5


@dataclass(frozen=True)
class BatchSearchReport:
    """What was written for many queries.

    Attributes:
        space: Library and space.
        version: Version of its vectors.
        out: Where the hits are.
        queries: How many were asked.
        truncated: Ids of those of which the model saw only the beginning.
    """

    space: str
    version: int
    out: str
    queries: int
    truncated: list[str]

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        lines = [f"space      {self.space}, vectors at version {self.version}", f"queries    {self.queries:,}"]
        if self.truncated:
            named = ", ".join(ascii(query_id[:80]) for query_id in self.truncated[:_NAMED])
            lines.append(f"truncated  {len(self.truncated):,} queries, of which the model saw the beginning: {named}")
        return "\n".join([*lines, f"hits       {self.out}"])


def answer(
    spark: SparkSession, settings: Settings, question: str, options: SearchOptions, space: str | None = None
) -> SearchResult:
    """Finds the chunks nearest to a question.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        question: Any text.
        options: How many hits, and of which rows.
        space: Another space of the library than the settings'.

    Returns:
        At most `options.k` hits.

    Raises:
        InputError: The space, the question or the filter cannot be used.
    """
    with delta_session(spark):
        opened = open_space(spark, settings, space)
        model = search_model(opened)
        rows = matching(opened, options.where)
        asked = embed_queries(opened, model, [("question", question)], options.rescore)
        hits = nearest(opened, rows, asked, options).orderBy("rank").collect()
    return SearchResult(opened.name, hits, bool(asked.truncated))


def run(
    spark: SparkSession, settings: Settings, queries: str, out: str, options: SearchOptions, space: str | None = None
) -> BatchSearchReport:
    """Finds the chunks nearest to each query of a file, and writes the hits.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        queries: Path as `read_queries` takes it.
        out: A path that is not there yet: Parquet where it ends with .parquet, else a Delta table.
        options: How many hits, and of which rows.
        space: Another space of the library than the settings'.

    Returns:
        A summary, ready to be printed.

    Raises:
        InputError: The space, a query or the filter cannot be used, or there is no writing at the path.
    """
    with delta_session(spark):
        opened = open_space(spark, settings, space)
        model = search_model(opened)
        rows = matching(opened, options.where)
        passes: list[DataFrame] = []
        truncated: list[str] = []
        count = 0
        for group in read_queries(spark, queries, queries_per_scan(options.k)):
            asked = embed_queries(opened, model, group, options.rescore)
            passes.append(nearest(opened, rows, asked, options))
            truncated += asked.truncated
            count += len(group)
        if not passes:
            raise InputError(f"there are no queries in {queries}: give at least one")
        _write(reduce(DataFrame.unionByName, passes), out)
    return BatchSearchReport(opened.name, opened.vectors.version, out, count, truncated)


def search(space: OpenSpace, queries: Sequence[Query], options: SearchOptions) -> DataFrame:
    """Finds the chunks nearest to each of some queries, exactly, in one pass over the space's embeddings.

    Args:
        space: The space, opened with the properties that reading the store needs.
        queries: Pairs of id and text, not more than fit into one pass.
        options: How many hits, and of which rows.

    Returns:
        Rows as `nearest` makes them.

    Raises:
        InputError: A query or the filter cannot be used.
    """
    rows = matching(space, options.where)
    return nearest(space, rows, embed_queries(space, search_model(space), queries, options.rescore), options)


def _write(hits: DataFrame, out: str) -> None:
    try:
        hits.write.format("parquet" if out.rstrip("/").endswith(".parquet") else "delta").save(out)
    except PySparkException as error:
        raise InputError(f"--out {out} cannot be written: {cause_of(error)}") from error


def command(
    config: Config,
    question: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    queries: Annotated[str | None, typer.Option(help="File of queries: _id or id, and text.")] = None,
    out: Annotated[str | None, typer.Option(help="Where hits of --queries go: Delta, or *.parquet.")] = None,
    k: K = 10,
    where: Where = None,
    per_document: PerDocument = False,
    rescore: Rescore = False,
    space: Space = None,
    as_json_lines: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Finds the chunks nearest to a question, exactly; or to each of a file of queries."""
    options = SearchOptions(k=k, where=where, per_document=per_document, rescore=rescore)

    def job(settings: Settings) -> None:
        if queries is not None and out is not None and question is None:
            show(str(run(session(settings, debug), settings, queries, out, options, space)))
        elif question is not None and queries is None and out is None:
            _answer(settings, question, options, space, as_json_lines, debug)
        else:
            raise InputError("search takes a question, or --queries FILE with --out PATH")

    guarded(job, config, overrides, debug)


def _answer(
    settings: Settings, question: str, options: SearchOptions, space: str | None, as_lines_of: bool, debug: bool
) -> None:
    if not question.strip():
        raise InputError("the question is empty: ask something")
    found = answer(session(settings, debug), settings, question, options, space)
    if found.truncated:
        typer.echo("embedlake: the question is longer than the model can see: only its beginning counted", err=True)
    show(as_json(found) if as_lines_of else as_lines(found))


if __name__ == "__main__":
    typer.run(command)
