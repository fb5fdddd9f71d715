"""The search job: exact top-k over a space, for one question or for thousands of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession

from schemas.errors import InputError
from spark_jobs import store
from spark_jobs.causes import cause_of
from spark_jobs.nearest import Wanted as Wanted
from spark_jobs.nearest import matching, nearest, queries_a_pass
from spark_jobs.queries import Query, embed_queries, read_queries
from spark_jobs.searchable import Searchable, open_space
from spark_jobs.settings import Settings

# Named in a message, of those whose end the model did not see.
_NAMED = 5


@dataclass(frozen=True)
class Answer:
    """What was found for one question.

    Attributes:
        space: Library and space.
        hits: Rows of `nearest`, best first.
        truncated: Whether the model saw only the beginning of the question.
    """

    space: str
    hits: list[Row]
    truncated: bool


@dataclass(frozen=True)
class Answered:
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


def answer(spark: SparkSession, settings: Settings, question: str, wanted: Wanted, space: str | None = None) -> Answer:
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
    with store.delta_session(spark):
        searchable = open_space(spark, settings, space)
        rows = matching(searchable, wanted.where)
        asked = embed_queries(spark, searchable, [("question", question)], wanted.rescore)
        hits = nearest(spark, searchable, rows, asked, wanted).orderBy("rank").collect()
    return Answer(searchable.name, hits, bool(asked.truncated))


def run(
    spark: SparkSession, settings: Settings, queries: str, out: str, wanted: Wanted, space: str | None = None
) -> Answered:
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
    with store.delta_session(spark):
        searchable = open_space(spark, settings, space)
        rows = matching(searchable, wanted.where)
        passes: list[DataFrame] = []
        truncated: list[str] = []
        count = 0
        for group in read_queries(spark, queries, queries_a_pass(wanted.k)):
            asked = embed_queries(spark, searchable, group, wanted.rescore)
            passes.append(nearest(spark, searchable, rows, asked, wanted))
            truncated += asked.truncated
            count += len(group)
        if not passes:
            raise InputError(f"there are no queries in {queries}: give at least one")
        _write(reduce(DataFrame.unionByName, passes), out)
    return Answered(searchable.name, searchable.version, out, count, truncated)


def search(spark: SparkSession, searchable: Searchable, queries: Sequence[Query], wanted: Wanted) -> DataFrame:
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
