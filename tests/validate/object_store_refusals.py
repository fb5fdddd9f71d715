"""What people get wrong about S3, each in a process of its own: one sentence with a remedy, in limited time."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from tests.support.object_store.proxy import Trouble
from tests.support.object_store.server import properties_of
from tests.support.refresh.crashes import clean_environment
from tests.support.small_tables import SHORT_LIVED

if TYPE_CHECKING:
    from tests.validate.object_store import Site
    from tests.validate.outcome import Outcome

# A process that takes longer counts as one that hangs.
_LIMIT = 300
_STACK = re.compile(r"Traceback|^\s+at |\.java:|Exception", re.MULTILINE)


@dataclass(frozen=True)
class Mistake:
    """Something wrong with the settings, the environment or the server.

    Attributes:
        says: A pattern that the message must match.
        store: The store's path.
        source: The source's path.
        properties: Properties that differ; an empty one is left out.
        variables: Variables of the environment that differ; an empty one is removed.
        trouble: What the proxy does.
        doctor: Whether `embedlake doctor` finds it too; it reads no source.
    """

    says: str
    store: str = "s3a://lake/mistaken"
    source: str = "s3a://lake/source"
    properties: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    trouble: Trouble | None = None
    doctor: bool = True


def _mistakes(here: "Site") -> dict[str, Mistake]:
    endpoint, region = "spark.hadoop.fs.s3a.endpoint", "spark.hadoop.fs.s3a.endpoint.region"
    through = {endpoint: here.proxy.endpoint}
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    return {
        "wrong secret": Mistake(
            "does not accept the credentials|refuses access",
            variables={"AWS_SECRET_ACCESS_KEY": "mistaken-secret"},
        ),
        "unknown access key": Mistake(
            "does not accept the credentials|refuses access", properties=through, trouble=Trouble("403"), doctor=False
        ),
        "no credentials": Mistake("there are no credentials for s3a://lake", variables=none, doctor=False),
        "bucket is gone": Mistake("s3a://gone does not exist. Create the bucket", store="s3a://gone/store"),
        "bucket of the source is gone": Mistake(
            "s3a://gone does not exist. Create the bucket", source="s3a://gone/docs", doctor=False
        ),
        "other region": Mistake("is in another region than", properties={region: "eu-west-3"}, doctor=False),
        "s3:// for s3a://": Mistake("Write s3a:// in place of s3://", store="s3://lake/store", doctor=False),
        "package is missing": Mistake(
            "Add org.apache.hadoop:hadoop-aws:3.5.0 to spark.jars.packages", properties={"spark.jars.packages": ""}
        ),
        "nothing listens": Mistake(
            "nothing takes connections at the endpoint",
            properties={endpoint: "http://127.0.0.1:9"},
            doctor=False,
        ),
        "unknown host": Mistake(
            "name of the server of .* is unknown",
            properties={endpoint: "http://s3.invalid"},
            doctor=False,
        ),
        "server does not speak TLS": Mistake(
            "no encrypted connection",
            properties={endpoint: here.server.endpoint.replace("http:", "https:")},
            doctor=False,
        ),
        "endpoint hangs": Mistake(
            "did not answer (in time|within 60 s.* Look at the server)", properties=through, trouble=Trouble("hang")
        ),
    }


def refusals(here: "Site", outcome: "Outcome") -> None:
    """Makes each mistake, and holds `embed` and `doctor` to a sentence that says it."""
    from tests.validate.object_store import publish
    from tests.validate.real_data import read_steps

    publish(here, read_steps("tldr-en", ["2025-01-01"])[0].documents[:50])
    for name, mistake in _mistakes(here).items():
        for verb in ("embed", "doctor") if mistake.doctor else ("embed",):
            seconds, done = _start(here, mistake, verb)
            said = done.stderr.partition("embedlake: ")[2] if verb == "embed" else _faults(done.stdout)
            outcome.measured(**{f"{name}, {verb}: seconds": round(seconds), f"{name}, {verb}: said": said.strip()})
            outcome.equal(f"{name}, {verb}: says it", bool(re.search(mistake.says, said)), True)
            outcome.equal(f"{name}, {verb}: exit code", done.returncode, 2)
            whole = done.stdout + done.stderr
            leaks = [word for word in (here.server.secret, "mistaken-secret", here.server.key) if word in whole]
            outcome.equal(f"{name}, {verb}: secrets and stack traces", [*leaks, *_STACK.findall(whole)], [])


def _faults(report: str) -> str:
    return "\n".join(line for line in report.splitlines() if line.startswith("fault"))


def _start(here: "Site", mistake: Mistake, verb: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    properties = {**SHORT_LIVED, **properties_of(here.server.endpoint), **mistake.properties}
    values = {
        "library": "toy",
        "store": {"path": mistake.store},
        "source": {"format": "parquet", "path": mistake.source, "id_column": "doc_id", "text_columns": ["text"]},
        "model": {"path": "fake:8"},
        "spark": {"master": "local[1]", "properties": {key: value for key, value in properties.items() if value}},
    }
    file = here.folder / "mistaken.yaml"
    file.write_text(yaml.safe_dump(values))
    variables = {**clean_environment(), **here.server.credentials, **mistake.variables}
    environment = {name: value for name, value in variables.items() if value}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", "from spark_jobs.cli import main; main()", verb, "--config", str(file)]
    command += ["--limit", "60"] if verb == "doctor" else []
    begun = time.monotonic()
    options = {"env": environment, "capture_output": True, "text": True, "check": False, "timeout": _LIMIT}
    if mistake.trouble is None:
        done = subprocess.run(command, **options)
    else:
        with here.proxy.trouble(mistake.trouble):
            done = subprocess.run(command, **options)
    return time.monotonic() - begun, done
