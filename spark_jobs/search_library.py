"""The search job: exact top-k over a space, for one question or for thousands of queries."""

from typing import Annotated
import typer
from schemas.errors import InputError
from spark_jobs.runtime.command import Config
from spark_jobs.runtime.command import Debug
from spark_jobs.runtime.command import Overrides
from spark_jobs.runtime.command import guarded
from spark_jobs.runtime.command import session
from spark_jobs.runtime.command import show
from spark_jobs.search.hits import as_json
from spark_jobs.search.hits import as_lines
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.settings.loading import Settings
from spark_jobs import search_library
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import SparkSession
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.search.nearest import matching
from spark_jobs.search.nearest import nearest
from spark_jobs.search.nearest import queries_per_scan
from spark_jobs.search.queries import Query
from spark_jobs.search.queries import embed_queries
from spark_jobs.search.queries import read_queries
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.store.open_space import open_space
from spark_jobs.store import tables
from spark_jobs.runtime.command import AsJson
from spark_jobs.runtime.command import K
from spark_jobs.search.hits import SearchResult

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


def answer(spark: SparkSession, settings: Settings, question: str, wanted: SearchOptions, space: str | None = None) -> SearchResult:
    """Finds the chunks nearest to a question.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        question: Any text.
        wanted: How many hits, and of which rows.
        space: Another space of the library than the settings'.

    Returns:
        At most `wanted.k` hits.

    Raises:
        InputError: The space, the question or the filter cannot be used.
    """
    with tables.delta_session(spark):
        searchable = open_space(spark, settings, space)
        rows = matching(searchable, wanted.where)
        asked = embed_queries(spark, searchable, [("question", question)], wanted.rescore)
        hits = nearest(spark, searchable, rows, asked, wanted).orderBy("rank").collect()
    return SearchResult(searchable.name, hits, bool(asked.truncated))


def run(
    spark: SparkSession, settings: Settings, queries: str, out: str, wanted: SearchOptions, space: str | None = None
) -> BatchSearchReport:
    """Finds the chunks nearest to each query of a file, and writes the hits.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        queries: Path as `read_queries` takes it.
        out: A path that is not there yet: Parquet where it ends with .parquet, else a Delta table.
        wanted: How many hits, and of which rows.
        space: Another space of the library than the settings'.

    Returns:
        A summary, ready to be printed.

    Raises:
        InputError: The space, a query or the filter cannot be used, or there is no writing at the path.
    """
    with tables.delta_session(spark):
        searchable = open_space(spark, settings, space)
        rows = matching(searchable, wanted.where)
        passes: list[DataFrame] = []
        truncated: list[str] = []
        count = 0
        for group in read_queries(spark, queries, queries_per_scan(wanted.k)):
            asked = embed_queries(spark, searchable, group, wanted.rescore)
            passes.append(nearest(spark, searchable, rows, asked, wanted))
            truncated += asked.truncated
            count += len(group)
        if not passes:
            raise InputError(f"there are no queries in {queries}: give at least one")
        _write(reduce(DataFrame.unionByName, passes), out)
    return BatchSearchReport(searchable.name, searchable.version, out, count, truncated)


def search(spark: SparkSession, searchable: OpenSpace, queries: Sequence[Query], wanted: SearchOptions) -> DataFrame:
    """Finds the chunks nearest to each of some queries, exactly, in one pass over the space's embeddings.

    Args:
        spark: The live session, with the properties that reading the store needs.
        searchable: The space.
        queries: Pairs of id and text, not more than fit into one pass.
        wanted: How many hits, and of which rows.

    Returns:
        Rows as `nearest` makes them.

    Raises:
        InputError: A query or the filter cannot be used.
    """
    rows = matching(searchable, wanted.where)
    return nearest(spark, searchable, rows, embed_queries(spark, searchable, queries, wanted.rescore), wanted)


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
    wanted = SearchOptions(k=k, where=where, per_document=per_document, rescore=rescore)

    def job(settings: Settings) -> None:
        if queries is not None and out is not None and question is None:
            show(str(search_library.run(session(settings, debug), settings, queries, out, wanted, space)))
        elif question is not None and queries is None and out is None:
            _answer(settings, question, wanted, space, as_json_lines, debug)
        else:
            raise InputError("search takes a question, or --queries FILE with --out PATH")

    guarded(job, config, overrides, debug)


def _answer(
    settings: Settings, question: str, wanted: SearchOptions, space: str | None, as_lines_of: bool, debug: bool
) -> None:
    if not question.strip():
        raise InputError("the question is empty: ask something")
    found = search_library.answer(session(settings, debug), settings, question, wanted, space)
    if found.truncated:
        typer.echo("embedlake: the question is longer than the model can see: only its beginning counted", err=True)
    show(as_json(found) if as_lines_of else as_lines(found))
