"""Runs tests of faulty copies of the project one after the other in one process, so that Java starts only once.

Reads lines of JSON: a copy's folder, and a test in it. Answers each with pytest's exit code and the end of its output.
Only for faults on the driver: Spark's workers import the packages once, from the project itself.
"""

import contextlib
import io
import json
import os
import sys

import pytest
from pyspark.sql import SparkSession

_PACKAGES = ("schemas", "spark_jobs", "udfs", "tests", "conftest")


def run(folder: str, test: str) -> tuple[int, str]:
    """Imports everything anew from a folder and runs a test of it; returns the exit code and what it printed."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]:
        del sys.modules[name]
    sys.path[0] = folder
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", test])
    return int(code), told.getvalue()


if __name__ == "__main__":
    # The fixture of the session would stop it after each test.
    SparkSession.stop = lambda _: None  # type: ignore[method-assign]
    for line in sys.stdin:
        code, told = run(*json.loads(line))
        print(json.dumps([code, told[-3000:]]), flush=True)
