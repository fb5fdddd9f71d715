"""The search job: exact top-k over a space, for one question or thousands of queries.

In a live session:

    from spark_jobs.search.hits import as_lines
    from spark_jobs.search.nearest import SearchOptions
    from spark_jobs.search_library import answer

    print(as_lines(answer(spark, settings, "How do I mask values?", SearchOptions(k=5))))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated

import typer
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from schemas.errors import InputError
from spark_jobs.runtime.command import AsJson, Config, Debug, K, Overrides, guarded, session, show
from spark_jobs.runtime.report import render_lines
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.search.hits import SearchResult, as_json, as_lines, collect_hits
from spark_jobs.search.nearest import SearchOptions, matching, nearest, queries_per_scan
from spark_jobs.search.queries import embed_queries, read_queries
from spark_jobs.search.query_rows import Query, shown
from spark_jobs.settings.loading import Settings
from spark_jobs.store.open_space import OpenSpace, open_space, search_model
from spark_jobs.store.tables import delta_session

Where = Annotated[str | None, typer.Option(help="Boolean SQL expression, such as \"package = 'numpy'\".")]
PerDocument = Annotated[bool, typer.Option("--per-document", help="Return documents, each by its best chunk.")]
Rescore = Annotated[bool, typer.Option("--rescore", help="Keep queries in float32 in a space of int8 or binary.")]
Space = Annotated[str | None, typer.Option(help="Search another space of this library.")]

# Maximum number of truncated queries that the summary names.
_NAMED = 5


@dataclass(frozen=True)
class BatchSearchReport:
    """The summary of a search with many queries.

    Attributes:
        space: Library and space.
        version: Version of its vectors.
        out: Where the hits were written.
        queries: Number of queries.
        truncated: Ids of queries that are longer than the model's limit; only their beginning counted.
    """

    space: str
    version: int
    out: str
    queries: int
    truncated: list[str]

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        lines = [("space", f"{self.space}, vectors at version {self.version}"), ("queries", f"{self.queries:,}")]
        if self.truncated:
            named = ", ".join(map(shown, self.truncated[:_NAMED]))
            lines.append(("truncated", f"{len(self.truncated):,} queries, only their beginning counted: {named}"))
        return render_lines([*lines, ("hits", self.out)])


def answer(
    spark: SparkSession, settings: Settings, question: str, options: SearchOptions, space: str | None = None
) -> SearchResult:
    """Finds the chunks nearest to a question, by exact search.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        question: Any text that is not blank.
        options: How many hits to return, and from which rows.
        space: A space of the library to search instead of the configured one.

    Returns:
        At most `options.k` hits; render them with `as_lines` or `as_json` of `spark_jobs.search.hits`.

    Raises:
        InputError: The space, the question or the filter cannot be used.
    """
    with delta_session(spark):
        opened = open_space(spark, settings, space)
        model = search_model(opened)
        rows = matching(opened, options.where)
        embedded = embed_queries(opened, model, [("question", question)], options.rescore)
        hits = nearest(opened, rows, embedded, options).orderBy("rank")
        return SearchResult(opened.name, collect_hits(hits), bool(embedded.truncated), hits.schema)


def run(
    spark: SparkSession, settings: Settings, queries: str, out: str, options: SearchOptions, space: str | None = None
) -> BatchSearchReport:
    """Finds the chunks nearest to each query of a file, by exact search, and writes the hits.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        queries: Path of JSON lines, CSV with a header, Parquet or ORC, or a Delta table's folder; with columns `text`
            and `_id`, `id` or `query_id`.
        out: A path that does not exist yet. It becomes Parquet if it ends with .parquet, else a Delta table.
        options: How many hits of each query to write, and from which rows.
        space: A space of the library to search instead of the configured one.

    Returns:
        The summary; print it.

    Raises:
        InputError: The space, a query or the filter cannot be used, or the path cannot be written.
    """
    with delta_session(spark):
        opened = open_space(spark, settings, space)
        model = search_model(opened)
        rows = matching(opened, options.where)
        scans: list[DataFrame] = []
        truncated: list[str] = []
        every = read_queries(spark, queries)
        if not every:
            raise InputError(f"there are no queries in {queries}. Give at least one.")
        size = queries_per_scan(options.k)
        for start in range(0, len(every), size):
            embedded = embed_queries(opened, model, every[start : start + size], options.rescore)
            scans.append(nearest(opened, rows, embedded, options))
            truncated += embedded.truncated
        _write(reduce(DataFrame.unionByName, scans), out)
    return BatchSearchReport(opened.name, opened.vectors.version, out, len(every), truncated)


def search(space: OpenSpace, queries: Sequence[Query], options: SearchOptions) -> DataFrame:
    """Finds the chunks nearest to each query, by exact search in one scan of the space's embeddings.

    Args:
        space: An open space, in a session with the properties of `delta_session`.
        queries: Pairs of id and text, at most `queries_per_scan(options.k)`.
        options: How many hits of each query to return, and from which rows.

    Returns:
        Columns query_id, rank, score and those of `vectors` without the embedding; at most k rows for each query.

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
    question: Annotated[str | None, typer.Argument(help="Text to search for.")] = None,
    queries: Annotated[
        str | None, typer.Option(help="Search for each query of a file with _id or id, and text.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Write the hits of --queries as a Delta table, or as *.parquet.")
    ] = None,
    k: K = 10,
    where: Where = None,
    per_document: PerDocument = False,
    rescore: Rescore = False,
    space: Space = None,
    as_json_lines: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Find the chunks nearest to a question, or to each query of a file, by exact search."""
    options = SearchOptions(k=k, where=where, per_document=per_document, rescore=rescore)

    def job(settings: Settings) -> None:
        if queries is not None and out is not None and question is None:
            show(str(run(session(settings, debug), settings, queries, out, options, space)))
        elif question is not None and queries is None and out is None:
            _show_answer(settings, question, options, space, as_json_lines, debug)
        else:
            raise InputError("search needs either a question, or --queries FILE with --out PATH")

    guarded(job, config, overrides, debug)


def _show_answer(
    settings: Settings, question: str, options: SearchOptions, space: str | None, as_json_lines: bool, debug: bool
) -> None:
    if not question.strip():
        raise InputError("the question is empty. Write a question.")
    result = answer(session(settings, debug), settings, question, options, space)
    if result.truncated:
        typer.echo("embedlake: the question exceeds the model's limit, so only its beginning counted", err=True)
    show(as_json(result) if as_json_lines else as_lines(result))


if __name__ == "__main__":
    typer.run(command)
