"""The command line in a separate process that keeps running, so that its Spark session starts only once."""

import json
import re
import subprocess
import sys
from pathlib import Path
from threading import Lock

Completed = subprocess.CompletedProcess[str]

# What Spark, Java and Python print unless they are silenced.
NOISE = re.compile(
    r"::|WARN|ERROR|Traceback|Setting default log level|^\s+at |Using Spark|Py4J|resolving", re.MULTILINE
)
_LOOP = """
import json, sys
from typer.testing import CliRunner
from spark_jobs.cli import app
for line in sys.stdin:
    result = CliRunner().invoke(app, json.loads(line))
    answer = [result.exit_code, result.stdout, result.stderr]
    print(json.dumps(answer), file=sys.__stdout__, flush=True)
"""


class Command:
    """Calls the command line like `subprocess.run` calls a program; threads take turns."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._lock = Lock()
        self._noise = folder / "stderr"
        with self._noise.open("w") as noise:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LOOP],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                text=True,
                # Ctrl-C in a terminal should reach only the tests, which then end this process properly.
                start_new_session=True,
            )

    def __call__(self, *arguments: str | Path) -> Completed:
        assert self._process.stdin is not None and self._process.stdout is not None
        given = [str(argument) for argument in arguments]
        with self._lock:
            self._process.stdin.write(json.dumps(given) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, f"the process ended: {self._noise.read_text()}"
        code, stdout, stderr = json.loads(line)
        return Completed(given, code, stdout, stderr)

    def embed(self, settings: Path, *options: str | Path) -> str:
        """Embeds a library, checks that this succeeds, and returns the summary."""
        done = self("embed", "--config", settings, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Ends the process and checks that it has written only its answers."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(60) == 0
        finally:
            self._process.kill()
        assert self._noise.read_text() == ""
