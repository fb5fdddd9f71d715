"""Runs on S3 that are killed at commits, and runs through requests that are slow, fail or get no answer."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pyspark.sql import SparkSession

from spark_jobs import embed_library
from spark_jobs.runtime.command import explained
from spark_jobs.settings import Settings, load_settings
from tests.support.object_store.proxy import Trouble
from tests.support.object_store.server import properties_of
from tests.support.refresh.crashes import Rig, clean_environment
from tests.support.small_tables import SHORT_LIVED

if TYPE_CHECKING:
    from tests.validate.object_store import Site
    from tests.validate.outcome import Outcome

# Where most is left behind.
POINTS = [
    *(("staged_vectors.after", 1), ("vectors.before", 1), ("vectors.after", 1), ("ledger.after", 1), ("runs.after", 1)),
]
TROUBLES = {
    "a tenth of the requests is half a second late": Trouble("delay", 0.10),
    "a twentieth of the connections breaks off": Trouble("reset", 0.05),
    "a twentieth of the requests fails inside (500)": Trouble("500", 0.05),
    "a fifth of the requests is too many (503)": Trouble("503", 0.20),
    "a twentieth of the answers to writes is lost": Trouble("lost", 0.05, methods=("PUT", "POST", "DELETE")),
    "half of the answers to writes is lost": Trouble("lost", 0.50, methods=("PUT",)),
    "every write fails inside (500)": Trouble("500", methods=("PUT", "POST")),
}


class S3Rig(Rig):
    """The rig of `make crash`, in a bucket's folder: processes see it by the server, the oracle past it."""

    def _settings(self, name: str) -> None:
        super()._settings(name)
        file = self.folder / f"{name}.yaml"
        values: dict[str, Any] = yaml.safe_load(file.read_text())
        for section in ("store", "source"):
            values[section]["path"] = (
                f"s3a://{self.folder.name}/{Path(values[section]['path']).relative_to(self.folder)}"
            )
        file.write_text(yaml.safe_dump(values))


def crashes(here: "Site", outcome: "Outcome") -> None:
    """Kills refreshes of a store on S3, runs the command again, and compares with what has to be there."""
    spark = here.spark
    environment = {**clean_environment(), **here.server.credentials, "PYTHONPATH": ":".join(filter(None, sys.path))}
    rig = S3Rig(
        here.server.make_bucket("crashes"),
        [sys.executable, "-c", "from spark_jobs.cli import main; main()"],
        environment,
        {**SHORT_LIVED, **properties_of(here.server.endpoint)},
        seed=11,
        edits=60,
        # No lock tells here that the killed run is dead.
        run=lambda path: embed_library.run(spark.newSession(), load_settings(path), take_over=True),
    )
    rig.prepare()
    for number, point in enumerate(POINTS):
        found = rig.round(f"round{number}", point)
        outcome.equal(f"killed at {found['point']}: faults after the command was repeated", found["faults"], [])
        outcome.measured(**{f"killed_at_{found['point']}": found["killed"]})


def troubles(here: "Site", outcome: "Outcome") -> None:
    """Refreshes a store through each trouble: it ends right, or says why and is right after another run."""
    from tests.validate.object_store import publish, settings_of
    from tests.validate.real_data import read_steps

    steps = [step.documents[:300] for step in read_steps("tldr-en", ["2025-01-01", "2026-01-01"])]
    for number, (what, trouble) in enumerate(TROUBLES.items()):
        settings = settings_of(f"s3a://troubled/store-{number}", "s3a://lake/source")
        publish(here, steps[0])
        embed_library.run(here.spark, settings)
        publish(here, steps[1])
        begun = time.monotonic()
        with here.proxy.trouble(trouble):
            said, code = _attempt(here.spark, settings)
        seconds = time.monotonic() - begun
        outcome.measured(
            **{
                f"{what}: requests": dict(+trouble.done).__str__(),
                f"{what}: seconds": round(seconds, 1),
                f"{what}: said": said,
            }
        )
        outcome.equal(f"{what}: right, or a cause without unexpected errors", "unexpected" not in said, True)
        outcome.equal(f"{what}: exit code", code in (0, 1, 2), True)
        _repaired(here, outcome, what, settings)


def _attempt(spark: SparkSession, settings: Settings) -> tuple[str, int]:
    try:
        embed_library.run(spark, settings)
    except Exception as error:  # what a person would be told is compared
        return explained(error)
    return "success", 0


def _repaired(here: "Site", outcome: "Outcome", what: str, settings: Settings) -> None:
    from tests.validate.object_store import settings_of
    from tests.validate.store_files import read_rows

    columns = "chunk_id, doc_id, chunk_index, text, embedding"
    embed_library.run(here.spark, settings, take_over=True)
    local = settings_of(
        str(here.folder / f"right-{len(list(here.folder.glob('right-*')))}"), str(here.folder / "source")
    )
    embed_library.run(here.spark, local)
    stores = (Path(str(local.store.path)), here.objects(str(settings.store.path)))
    tables = [read_rows(root / "tldr" / "main" / "vectors", columns) for root in stores]
    outcome.equal(
        f"{what}: vectors after another run equal those of a run without trouble", tables[0].equals(tables[1]), True
    )
