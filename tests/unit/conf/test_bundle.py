"""The bundle for Databricks: whole in itself, and fitting to the notebooks, the commands and the settings here.

`make validate-databricks` holds it to the schema of the platform's CLI, which may not be kept here.
"""

import re
from typing import Any

import pytest
import typer

from spark_jobs.cli import app
from spark_jobs.settings import load_settings
from tests.support.bundle import faults_of, read_bundle, resolved
from tests.support.paths import ROOT

FOLDER = ROOT / "conf" / "databricks"
BUNDLE = read_bundle(FOLDER)
GIVEN = {
    "catalog": "main",
    "schema": "retrieval",
    "source_table": "main.docs.handbook",
    "model": "models:/main.models.minilm@champion",
    "model_volume": "/Volumes/main/models/cache",
    "service_principal": "6f6a1d3e-0000-0000-0000-000000000000",
    "notify": "search@example.com",
}
VALUES = {**{name: each["default"] for name, each in BUNDLE["variables"].items() if "default" in each}, **GIVEN}
JOBS: dict[str, dict[str, Any]] = resolved(BUNDLE["resources"]["jobs"], VALUES)
TASKS = [(name, task) for name, job in JOBS.items() for task in job["tasks"]]
COMMANDS = {command.name: command for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]


def test_with_its_required_variables_the_bundle_is_whole() -> None:
    assert faults_of(BUNDLE, GIVEN) == []


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_a_variable_without_a_value_is_found_and_documented(name: str) -> None:
    given = {other: value for other, value in GIVEN.items() if other != name}
    assert faults_of(BUNDLE, given) == [f"no value assigned to required variable {name}"]
    page = " ".join(ROOT.joinpath("docs", "databricks.md").read_text().split())
    assert f"`{name}`" in page and "no value assigned to required variable" in page


def test_a_variable_that_nobody_declares_is_found() -> None:
    variables = {name: each for name, each in BUNDLE["variables"].items() if name != "library"}
    assert faults_of({**BUNDLE, "variables": variables}, GIVEN) == ["library is used, but not declared under variables"]
    spare = {**BUNDLE["variables"], "spare": {"default": ""}}
    assert faults_of({**BUNDLE, "variables": spare}, GIVEN) == ["spare is declared, but not used"]
    assert faults_of(BUNDLE, {**GIVEN, "catalogue": "main"}) == ["catalogue is given, but not declared under variables"]
    other = {**BUNDLE, "name": "${workspace.home}"}
    assert faults_of(other, GIVEN) == ["workspace.home is not known to the CLI"]


@pytest.mark.parametrize("name", sorted(JOBS))
def test_runs_of_a_job_take_turns_and_somebody_hears_of_failures(name: str) -> None:
    job = JOBS[name]
    assert (job["max_concurrent_runs"], job["queue"]) == (1, {"enabled": True})
    assert job["email_notifications"]["on_failure"] == [GIVEN["notify"]]


def test_one_job_alone_embeds_by_itself() -> None:
    begins = {name: job.get("trigger", job.get("schedule"))["pause_status"] for name, job in JOBS.items()}
    assert begins == {"embed_gpu": "UNPAUSED", "embed_serverless": "PAUSED", "maintain": "UNPAUSED"}
    assert JOBS["embed_gpu"]["trigger"]["table_update"]["table_names"] == [GIVEN["source_table"]]


def test_production_runs_as_a_service_principal_and_others_only_look() -> None:
    target = resolved(BUNDLE["targets"]["prod"], VALUES)
    assert target["run_as"] == {"service_principal_name": GIVEN["service_principal"]}
    assert {(each["level"], each.get("group_name")) for each in target["permissions"]} == {
        *(("CAN_MANAGE", None), ("CAN_MANAGE", "admins"), ("CAN_VIEW", "users"))
    }


def test_tasks_name_files_clusters_and_environments_that_exist() -> None:
    for name, task in TASKS:
        job = JOBS[name]
        environments = {each["environment_key"] for each in job.get("environments", [])}
        clusters = {each["job_cluster_key"] for each in job.get("job_clusters", [])}
        assert (
            "condition_task" in task
            or task.get("environment_key") in environments
            or task["job_cluster_key"] in clusters
        )
        assert {each["task_key"] for each in task.get("depends_on", [])} <= {each["task_key"] for each in job["tasks"]}
    wheels = [path for name, task in TASKS for path in (each["whl"] for each in task.get("libraries", []))]
    wheels += [
        path
        for job in JOBS.values()
        for each in job.get("environments", [])
        for path in each["spec"]["dependencies"]
        if path.endswith(".whl")
    ]
    # Paths of a resource are relative to its file; `make wheel` writes to dist/.
    assert {(FOLDER / "resources" / path).resolve().parent for path in wheels} == {ROOT / "dist"}


def test_a_notebook_task_gives_widgets_that_its_notebook_has() -> None:
    notebooks = [(task["notebook_task"]) for _, task in TASKS if "notebook_task" in task]
    assert notebooks
    for task in notebooks:
        code = FOLDER.joinpath("resources", task["notebook_path"]).read_text()
        declared = set(re.findall(r'widgets\.\w+\("(\w+)"', code)) | set(
            re.findall(r'^    "(\w+)": "[\w.]+",$', code, re.M)
        )
        assert set(task["base_parameters"]) <= declared


def test_a_wheel_task_is_a_command_that_takes_its_parameters() -> None:
    tasks = [task["python_wheel_task"] for _, task in TASKS if "python_wheel_task" in task]
    assert {task["parameters"][0] for task in tasks} == {"embed", "status", "verify", "maintain"}
    setup = ROOT.joinpath("setup.py").read_text()
    for task in tasks:
        assert f'"{task["entry_point"]}=spark_jobs.cli:task"' in setup and task["package_name"] == "embedlake"
        name, *arguments = task["parameters"]
        command = COMMANDS[name]
        with command.make_context(name, list(arguments), resilient_parsing=True) as context:
            overrides = context.params["overrides"]
            config = str(context.params["config"])
        remote = "${workspace.file_path}/"
        assert config.startswith(remote)
        settings = load_settings(ROOT / config.removeprefix(remote), overrides, {})
        assert (settings.store.catalog, settings.source.table) == (GIVEN["catalog"], GIVEN["source_table"])
        assert (settings.model.path, settings.model.cache) == (GIVEN["model"], GIVEN["model_volume"])


def test_retries_are_for_what_another_attempt_can_mend() -> None:
    retries = {f"{name}.{task['task_key']}": task.get("max_retries") for name, task in TASKS}
    assert retries == {
        **{"embed_gpu.embed": 2, "embed_gpu.is_whole": None, "embed_gpu.status": None},
        **{"embed_serverless.embed": 2, "maintain.verify": 0, "maintain.maintain": 3},
    }
    for _, task in TASKS:
        if task.get("max_retries"):
            # A run that is still at work gets time to end.
            assert task["min_retry_interval_millis"] >= 600_000


def test_jobs_have_only_fields_that_the_platform_knows() -> None:
    """The platform's own client reads a job and writes it again: what it does not know would be missing."""
    service = pytest.importorskip("databricks.sdk.service.jobs", reason="comes with the extra [mlflow]")
    for name, job in JOBS.items():
        assert service.JobSettings.from_dict(job).as_dict() == job, name
    broken = {**JOBS["maintain"], "max_concurent_runs": 1}
    assert service.JobSettings.from_dict(broken).as_dict() != broken


def test_the_settings_file_of_the_bundle_loads_as_it_is() -> None:
    settings = load_settings(FOLDER / "settings.yaml", environ={})
    assert (settings.store.vector_encoding, settings.inference.resource_profile) == ("plain", "off")
