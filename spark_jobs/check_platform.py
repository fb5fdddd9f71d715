"""The platform's diagnosis: what a job needs, looked at before a job needs it, with what to do about each fault.

Start it as `embedlake doctor --config F`, or in a live session:

    from spark_jobs.check_platform import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))
"""

from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.diagnosis.diagnose import diagnose
from spark_jobs.diagnosis.findings import Diagnosis
from spark_jobs.runtime.command import AsJson, Config, Debug, LogAs, Overrides, guarded, new_progress, session, show
from spark_jobs.runtime.json_text import json_text
from spark_jobs.settings.loading import Settings

_SECONDS = 120
Limit = Annotated[int, typer.Option("--limit", min=1, help="Wait so many seconds for the session or the executors.")]


def run(spark: SparkSession, settings: Settings, *, limit: float = _SECONDS) -> Diagnosis:
    """Looks at the platform of a live session; writes nothing that lasts, and reads nothing of the library.

    Args:
        spark: The live session, classic or Connect.
        settings: The whole configuration.
        limit: Seconds that any one step may take.

    Returns:
        The findings; print them for one line each.
    """
    return diagnose(spark, settings, lambda: spark, limit)


def command(
    config: Config,
    as_json: AsJson = False,
    limit: Limit = _SECONDS,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Check Java, Spark, executors, model and store before a run needs them."""

    def job(settings: Settings) -> None:
        with new_progress().live() as progress:
            live = SparkSession.getActiveSession()
            found = diagnose(live, settings, lambda: session(settings, debug), limit, progress)
        show(json_text(found.as_dict(), indent=1) if as_json else str(found))
        if found.has_faults:
            # The report has said all of it.
            raise SystemExit(InputError.exit_code)

    guarded(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
