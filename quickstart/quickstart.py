"""Embed the quick start's documents and ask them questions, in one Spark session.

    python quickstart/quickstart.py "How do I mask values?" "How is a template loaded?"

A second call finds the documents unchanged and embeds only the questions.
"""

from pathlib import Path
from typing import Annotated

import typer

from spark_jobs.embed_library import run
from spark_jobs.runtime.command import Config, K, Overrides, guarded, show, watched_session
from spark_jobs.search.hits import as_lines
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search.query_rows import check_question
from spark_jobs.search_library import answer
from spark_jobs.settings import Settings


def main(
    questions: Annotated[list[str], typer.Argument(help="Texts to search for, one after another.")],
    config: Config = Path("conf/quickstart.yaml"),
    k: K = 5,
    overrides: Overrides = None,
) -> None:
    """Embed the quick start's documents and ask them questions."""

    def job(settings: Settings) -> None:
        for question in questions:
            check_question(question)
        # The session that this process has, or a local one; progress goes to standard error.
        with watched_session(settings, debug=False) as (spark, progress):
            shown = [str(run(spark, settings, progress=progress))]
            for question in questions:
                with progress.step("question"):
                    result = answer(spark, settings, question, SearchOptions(k=k))
                shown.append(f"{question}\n{as_lines(result)}")
        show("\n\n".join(shown))

    # Loads the settings, and turns an error into one sentence and an exit code.
    guarded(job, config, overrides, debug=False)


if __name__ == "__main__":
    typer.run(main)
