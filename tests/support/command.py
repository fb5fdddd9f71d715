"""The command line in the live session of the tests, for tests that do not need a process of their own."""

import re
import subprocess
from pathlib import Path

from pyspark.sql import SparkSession
from typer.testing import CliRunner

from spark_jobs.cli import app

Completed = subprocess.CompletedProcess[str]

# What Spark, Java and Python print unless they are silenced.
NOISE = re.compile(
    r"::|WARN|ERROR|Traceback|Setting default log level|^\s+at |Using Spark|Py4J|resolving", re.MULTILINE
)


class Command:
    """Calls the command line like `subprocess.run` calls a program.

    Args:
        spark: The live session, which every command finds and leaves open.
    """

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Completed:
        given = [str(argument) for argument in arguments]
        result = CliRunner().invoke(app, given, input=stdin)
        return Completed(given, result.exit_code, result.stdout, result.stderr)

    def embed(self, settings: Path, *options: str | Path) -> str:
        """Embeds a library, checks that this succeeds, and returns the summary."""
        done = self("embed", "--config", settings, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout
