"""The verbs that read what was embedded: search, evaluate, export."""

import json
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import InputError
from spark_jobs import evaluate_library, export_library, search_library
from spark_jobs.cli_common import Config, Debug, Overrides, guarded, session, show, watched_session
from spark_jobs.hits_report import as_json, as_lines
from spark_jobs.nearest import Wanted
from spark_jobs.settings import Settings

K = Annotated[int, typer.Option("-k", "--top-k", min=1, max=10_000, help="Hits of each query.")]
Where = Annotated[str | None, typer.Option(help="Boolean SQL expression: \"package = 'numpy'\".")]
PerDocument = Annotated[bool, typer.Option("--per-document", help="Documents, each by its best chunk.")]
Rescore = Annotated[bool, typer.Option("--rescore", help="Queries stay float32 in a space of int8 or binary.")]
Space = Annotated[str | None, typer.Option(help="Another space of the library than the settings'.")]
AsJson = Annotated[bool, typer.Option("--json", help="Prints JSON.")]


def search(
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
    wanted = Wanted(k=k, where=where, per_document=per_document, rescore=rescore)

    def job(settings: Settings) -> None:
        if queries is not None and out is not None and question is None:
            show(str(search_library.run(session(settings, debug), settings, queries, out, wanted, space)))
        elif question is not None and queries is None and out is None:
            _answer(settings, question, wanted, space, as_json_lines, debug)
        else:
            raise InputError("search takes a question, or --queries FILE with --out PATH")

    guarded(job, config, overrides, debug)


def _answer(
    settings: Settings, question: str, wanted: Wanted, space: str | None, as_lines_of: bool, debug: bool
) -> None:
    if not question.strip():
        raise InputError("the question is empty: ask something")
    found = search_library.answer(session(settings, debug), settings, question, wanted, space)
    if found.truncated:
        typer.echo("embedlake: the question is longer than the model can see: only its beginning counted", err=True)
    show(as_json(found) if as_lines_of else as_lines(found))


def evaluate(
    config: Config,
    queries: Annotated[Path | None, typer.Option(help="Queries in BEIR's format (JSON lines).")] = None,
    judgements: Annotated[Path | None, typer.Option(help="Judgements (qrels) in BEIR's or TREC's format.")] = None,
    against: Annotated[str | None, typer.Option(help="Another space of the library to compare with.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Pairs of sentences with a score, instead.")] = None,
    k: K = 10,
    out: Annotated[Path | None, typer.Option(help="File for the result as JSON.")] = None,
    as_json_text: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Measures retrieval from the space by judged queries, or the model by pairs of sentences."""

    def job(settings: Settings) -> None:
        found = evaluate_library.run(
            session(settings, debug),
            settings,
            queries=queries,
            judgements=judgements,
            pairs=pairs,
            against=against,
            k=k,
            out=out,
        )
        show(json.dumps(found.as_dict(), indent=1) if as_json_text else str(found))

    guarded(job, config, overrides, debug)


def export(
    config: Config,
    to: Annotated[str, typer.Option(help="Where to: parquet:FOLDER, faiss:FOLDER, postgresql://HOST/DB#TABLE …")],
    full: Annotated[bool, typer.Option("--full", help="Sends everything anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tells what would be sent; sends nothing.")] = False,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Brings the space's vectors to a system that people query, and keeps it in step."""

    def job(settings: Settings) -> None:
        with watched_session(settings, debug) as (spark, progress):
            done = export_library.run(spark, settings, to, full=full, dry_run=dry_run, progress=progress)
        show(str(done))

    guarded(job, config, overrides, debug)
