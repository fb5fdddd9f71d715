"""The search job: exact top-k over a space, for one question or thousands of queries.

In a live session:

    from spark_jobs.search.hits import as_lines
    from spark_jobs.search.nearest import SearchOptions
    from spark_jobs.search_library import answer

    print(as_lines(answer(spark, settings, "How do I mask values?", SearchOptions(k=5))))
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Annotated

import typer
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from schemas.errors import InputError
from spark_jobs.runtime.command import (
    AsJson,
    Config,
    Debug,
    K,
    LogAs,
    Overrides,
    guarded,
    session,
    show,
    tell,
    tell_trace,
)
from spark_jobs.runtime.events import Event
from spark_jobs.runtime.log import current_log
from spark_jobs.runtime.report import render_lines
from spark_jobs.runtime.session import ends_java, starts_here
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.runtime.threads import stoppable
from spark_jobs.search.hits import SearchResult, as_json, as_lines
from spark_jobs.search.nearest import SearchOptions, matching, nearest, queries_per_scan
from spark_jobs.search.prompt import answer_prompt, questions_of_input
from spark_jobs.search.queries import embed_queries, read_queries
from spark_jobs.search.query_rows import Query, check_question, shown
from spark_jobs.search.question import (
    LoadModel,
    PreparedSearch,
    ask,
    ask_active,
    ask_once,
    load_here,
    prepare_search,
)
from spark_jobs.settings.loading import Settings
from spark_jobs.store.open_space import OpenSpace, open_space, search_model
from spark_jobs.store.tables import delta_session, with_readable_types

Where = Annotated[str | None, typer.Option(help="Boolean SQL expression, such as \"package = 'numpy'\".")]
PerDocument = Annotated[bool, typer.Option("--per-document", help="Return documents, each by its best chunk.")]
Rescore = Annotated[bool, typer.Option("--rescore", help="Keep queries in float32 in a space of int8 or binary.")]
Space = Annotated[str | None, typer.Option(help="Search this space of the library instead of its active one.")]

_NEEDS = "search needs either a question, or --queries FILE with --out PATH"
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
        space: A space of the library to search instead of its active one.

    Returns:
        At most `options.k` hits; render them with `as_lines` or `as_json` of `spark_jobs.search.hits`.

    Raises:
        InputError: The space, the question or the filter cannot be used.
    """
    if space is None:
        return ask_once(spark, settings, question, options)
    return ask(prepare_search(spark, settings, space), question, options)


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
        space: A space of the library to search instead of its active one.

    Returns:
        The summary; print it.

    Raises:
        InputError: The space, a query or the filter cannot be used, or the path cannot be written.
    """
    with delta_session(spark):
        opened = open_space(spark, settings, space)
        model = search_model(opened)
        rows = matching(opened.vectors.rows, options.where)
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
    rows = matching(space.vectors.rows, options.where)
    return nearest(space, rows, embed_queries(space, search_model(space), queries, options.rescore), options)


def _write(hits: DataFrame, out: str) -> None:
    kind = "parquet" if out.rstrip("/").endswith(".parquet") else "delta"
    try:
        with_readable_types(hits, hits.schema).write.format(kind).save(out)
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
    log_format: LogAs = "text",
) -> None:
    """Find the chunks nearest to a question, or to each query of a file, by exact search.

    Without a question, it asks for one after another on a terminal, and reads one a line from anywhere else.
    """
    options = SearchOptions(k=k, where=where, per_document=per_document, rescore=rescore)

    def job(settings: Settings) -> None:
        if queries is not None and out is not None and question is None:
            show(str(run(session(settings, debug), settings, queries, out, options, space)))
        elif queries is None and out is None:
            _answer(settings, question, options, space, _Output(as_json_lines, debug))
        else:
            raise InputError(_NEEDS)

    guarded(job, config, overrides, debug, log_format)


@dataclass(frozen=True)
class _Output:
    """How answers and faults are shown."""

    as_json: bool
    debug: bool

    def answer(self, result: SearchResult, number: int | None = None) -> None:
        """Shows hits; those of several questions carry the number of theirs."""
        if result.truncated:
            current_log().warn("the question exceeds the model's limit, so only its beginning counted")
        show(as_json(result, number) if self.as_json else as_lines(result))

    def fault(self, error: Exception) -> int:
        """Shows why a question has no answer, and returns the exit code; raises what ends all questions."""
        if ends_java(error):
            raise error
        if self.debug:
            tell_trace(error)
        return tell(error)


def _answer(
    settings: Settings, question: str | None, options: SearchOptions, space: str | None, output: _Output
) -> None:
    lines = None
    if question is not None:
        check_question(question)
    elif not sys.stdin.isatty():
        lines = _lines()
    load = _local_load(settings, space)
    spark = session(settings, output.debug)
    if question is not None and load is None:
        return output.answer(answer(spark, settings, question, options, space))
    prepared = prepare_search(spark, settings, space, load)
    if question is not None:
        output.answer(ask(prepared, question, options))
        return None
    questions = _Questions(prepared, options, is_named=space is not None)
    if lines is not None:
        _answer_lines(lines, questions, output)
    else:
        _converse(spark, questions, output)
    return None


@dataclass
class _Questions:
    """Questions one after another, of a named space or of the one that is active at each question."""

    prepared: PreparedSearch
    options: SearchOptions
    is_named: bool

    def ask(self, question: str) -> SearchResult:
        if self.is_named:
            return ask(self.prepared, question, self.options)
        self.prepared, result = ask_active(self.prepared, question, self.options)
        return result


def _local_load(settings: Settings, space: str | None) -> LoadModel | None:
    """Starts to load the model here if the workers will be on this machine; None if they are elsewhere or at work."""
    if not starts_here(settings.spark):
        return None
    if space is not None:
        # Its model stands in the registry.
        return load_here
    try:
        local = load_here(settings)
    except InputError:
        # Only a fault if the active space needs this model.
        return load_here
    # A guess: another space than the settings' may be active.
    return lambda found: local if found.model == settings.model else load_here(found)


def _lines() -> Iterator[tuple[int, str]]:
    # Under spark-submit, standard input is a pipe that never ends.
    lines = questions_of_input() if "PYSPARK_GATEWAY_PORT" not in os.environ else iter(())
    first = next(lines, None)
    if first is None:
        raise InputError(_NEEDS)
    return chain([first], lines)


def _answer_lines(lines: Iterator[tuple[int, str]], questions: _Questions, output: _Output) -> None:
    """Answers each line; ends the process with the exit code of the first fault, if there is one."""
    codes = []
    for number, question in lines:
        try:
            output.answer(questions.ask(question), number)
        except Exception as error:
            codes.append(output.fault(error))
    if codes:
        raise SystemExit(codes[0])


def _converse(spark: SparkSession, questions: _Questions, output: _Output) -> None:
    prepared = questions.prepared
    if prepared.local is not None:
        # A model that cannot be loaded is no fault of a question.
        prepared.local.encoder()
    message = f"type a question to search {prepared.space.name}; Ctrl-D ends"
    current_log().tell(Event("note", {"message": message}, f"embedlake: {message}"))
    answer_prompt(lambda text: output.answer(stoppable(spark, lambda: questions.ask(text))), output.fault)


if __name__ == "__main__":
    typer.run(command)
