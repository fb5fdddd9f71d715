"""Keeps document libraries in sync with embedlake, which runs in an environment of its own.

Put this file and `embedlake_libraries.yaml` into Airflow's folder of DAGs, and say where the command is:

    airflow variables set embedlake_command /opt/embedlake/bin/embedlake

Needs Airflow 3 and nothing that embedlake needs.
"""

import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import DAG, BaseOperator, TaskGroup
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

# What becomes of a task by the exit code of its command. Codes that are not here are tried again: Python or Java was
# killed, as the kernel does when memory is short.
OUTCOMES = {
    0: "success",
    1: "retry",  # unexpected, such as a lost session or a store that cannot be reached
    2: "fail",  # settings, source, model or store are invalid
    3: "fail",  # too many documents are quarantined
    4: "skip",  # another run of the space is active
    5: "fail",  # the source's columns do not fit
    6: "fail",  # source, ledger and vectors disagree
    7: "fail",  # promote's gate refused
    8: "fail",  # the cap is reached: the next start goes on, a retry would spend the same again
    10: "success",  # plan --detailed-exitcode found work to do
    130: "retry",  # stopped
    143: "retry",  # stopped
}


class EmbedlakeOperator(BaseOperator):
    """Runs a command of embedlake; its output becomes the task's log.

    Args:
        arguments: Words of the command line after `embedlake`.
        folder: Where relative paths begin.
        environment: Variables beside those of the worker.
        outcomes: Outcomes of exit codes that differ from `OUTCOMES`.
        kwargs: Arguments of every operator.
    """

    template_fields = ("command", "arguments")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        arguments: list[str],
        folder: str,
        environment: dict[str, str],
        outcomes: dict[int, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = "{{ var.value.embedlake_command }}"
        self.arguments = arguments
        self.folder = folder
        self.environment = environment
        self.outcomes = {**OUTCOMES, **(outcomes or {})}
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> None:
        """Waits for the command, and raises what the outcome of its exit code asks for."""
        self._process = subprocess.Popen(
            [self.command, *self.arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.info("%s", line.rstrip())
        code = self._process.wait()
        message = f"embedlake {self.arguments[0]} ended with exit code {code}; its log says why"
        outcome = self.outcomes.get(code, "retry")
        if outcome == "skip":
            raise AirflowSkipException(message)
        if outcome == "fail":
            raise AirflowFailException(message)
        if outcome == "retry":
            raise AirflowException(message)

    def on_kill(self) -> None:
        """Ends the command, within ten seconds. Its Java gets no signal, because embedlake still needs it."""
        if self._process is not None:
            self._process.terminate()


def _keep_in_sync(name: str, library: dict[str, Any], environment: dict[str, str]) -> None:
    settings = {"folder": library["folder"], "environment": environment}
    config = ["--config", library["settings"]]
    with TaskGroup(name):
        embed = EmbedlakeOperator(task_id="embed", arguments=["embed", *config], **settings)
        if library.get("plan"):
            # Nothing to do is no fault: the tasks behind it are skipped too.
            plan = EmbedlakeOperator(
                task_id="plan", arguments=["plan", *config, "--detailed-exitcode"], outcomes={0: "skip"}, **settings
            )
            plan >> embed
        if library.get("export"):
            export = EmbedlakeOperator(
                task_id="export", arguments=["export", *config, "--to", library["export"]], **settings
            )
            embed >> export


def _look_after(name: str, library: dict[str, Any], environment: dict[str, str]) -> None:
    settings = {"folder": library["folder"], "environment": environment}
    config = ["--config", library["settings"]]
    with TaskGroup(name):
        verify = EmbedlakeOperator(task_id="verify", arguments=["verify", *config], **settings)
        # Comes once a week, so it waits for another run instead of being skipped.
        maintain = EmbedlakeOperator(
            task_id="maintain", arguments=["maintain", *config], outcomes={4: "retry"}, **settings
        )
        verify >> maintain


def _dags(configuration: dict[str, Any]) -> list[DAG]:
    environment = {str(key): str(value) for key, value in (configuration.get("environment") or {}).items()}
    common = {
        # What was not started in time is not made up for: the next run does all that has changed.
        "catchup": False,
        "max_active_runs": 1,
        # One after another: each run uses all cores and much of the memory of its machine.
        "max_active_tasks": 1,
        "tags": ["embedlake"],
        "default_args": {
            "retries": configuration["retries"],
            "retry_delay": timedelta(seconds=configuration["retry_seconds"]),
        },
    }
    with DAG("embedlake", schedule=configuration["schedule"], **common) as sync:
        for name, library in configuration["libraries"].items():
            _keep_in_sync(name, library, environment)
    with DAG("embedlake_upkeep", schedule=configuration["upkeep_schedule"], **common) as upkeep:
        for name, library in configuration["libraries"].items():
            _look_after(name, library, environment)
    return [sync, upkeep]


# Airflow looks for DAGs among the names of the module.
embedlake, embedlake_upkeep = _dags(
    yaml.safe_load(Path(__file__).with_name("embedlake_libraries.yaml").read_text(encoding="utf-8"))
)
