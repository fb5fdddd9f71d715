"""Embed the quick start's documents and ask them a question, in one Spark session.

    python quickstart/quickstart.py "How do I mask values?"

A second call finds the documents unchanged and embeds only the question.
"""

from pathlib import Path
from typing import Annotated

import typer

from spark_jobs.embed_library import run
from spark_jobs.runtime.command import Config, Overrides, guarded, show, watched_session
from spark_jobs.search.hits import as_lines
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search.query_rows import check_question
from spark_jobs.search_library import answer
from spark_jobs.settings import Settings


def main(
    question: Annotated[str, typer.Argument(help="Text to search for.")],
    config: Config = Path("conf/quickstart.yaml"),
    overrides: Overrides = None,
) -> None:
    """Embed the quick start's documents and ask them a question."""

    def job(settings: Settings) -> None:
        check_question(question)
        # The session that this process has, or a local one; progress goes to standard error.
        with watched_session(settings, debug=False) as (spark, progress):
            report = run(spark, settings, progress=progress)
            with progress.step("question"):
                result = answer(spark, settings, question, SearchOptions(k=5))
        show(f"{report}\n\n{as_lines(result)}")

    # Loads the settings, and turns an error into one sentence and an exit code.
    guarded(job, config, overrides, debug=False)


if __name__ == "__main__":
    typer.run(main)
