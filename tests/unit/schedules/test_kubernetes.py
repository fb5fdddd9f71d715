"""The files for Kubernetes: exit codes, rights, settings and commands; and the image's first process, run by sh.

Whether Kubernetes and the operator accept the files is tested by `make validate-kubernetes`, with their schemas.
"""

import os
import re
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from typer.main import get_command

from spark_jobs.cli import app
from spark_jobs.settings import as_settings
from tests.support.exit_codes import BUSY, CAPPED, LOOKED_AT
from tests.support.paths import ROOT

FOLDER = ROOT / "conf" / "schedules" / "kubernetes"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
ENTRYPOINT = FOLDER / "entrypoint.sh"


def objects(name: str) -> dict[str, Any]:
    """The objects of a file by their kinds."""
    return {found["kind"]: found for found in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))}


JOB = objects("cronjob.yaml")
SPARK = objects("spark-application.yaml")
SCHEDULED = objects("scheduled-spark-application.yaml")["ScheduledSparkApplication"]
POD = JOB["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
APPLICATION = SPARK["SparkApplication"]["spec"]


def test_a_job_fails_by_the_codes_that_need_somebody_and_waits_for_another_run() -> None:
    spec = JOB["CronJob"]["spec"]["jobTemplate"]["spec"]
    rules = [
        (rule["action"], rule["onExitCodes"]) for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    ]
    assert [(action, set(codes["values"])) for action, codes in rules] == [
        ("FailJob", {*LOOKED_AT, CAPPED}),
        ("Ignore", {BUSY}),
    ]
    assert {codes["containerName"] for _, codes in rules} == {container["name"] for container in POD["containers"]}
    assert (POD["restartPolicy"], JOB["CronJob"]["spec"]["concurrencyPolicy"]) == ("Never", "Forbid")
    assert spec["podReplacementPolicy"] == "Failed"


def test_the_operator_repeats_nothing_by_itself() -> None:
    assert APPLICATION["restartPolicy"] == {"type": "Never"}
    assert SCHEDULED["spec"]["concurrencyPolicy"] == "Forbid"


def test_both_kinds_of_application_run_the_same() -> None:
    assert SCHEDULED["spec"]["template"] == APPLICATION


@pytest.mark.parametrize("config", [JOB["ConfigMap"], SPARK["ConfigMap"]], ids=["job", "application"])
def test_settings_are_accepted_and_lead_to_what_is_mounted(config: dict[str, Any]) -> None:
    settings = as_settings(yaml.safe_load(config["data"]["settings.yaml"]))
    assert settings.library == "handbook"
    for path in (settings.store.path, settings.source.path):
        assert path is not None and path.startswith("/data/")
    assert settings.model.path == "/opt/embedlake/model" and "COPY ${MODEL} /opt/embedlake/model" in DOCKERFILE


@pytest.mark.parametrize(
    ("arguments", "command"), [(POD["containers"][0]["args"], None), (APPLICATION["arguments"], "embed")]
)
def test_arguments_are_those_of_the_command(arguments: list[str], command: str | None, tmp_path: Path) -> None:
    name, *words = arguments if command is None else [command, *arguments]
    (path,) = [PurePosixPath(word) for word in words if word.startswith("/")]
    (tmp_path / path.name).touch()
    words = [str(tmp_path / path.name) if word.startswith("/") else word for word in words]
    get_command(app).commands[name].make_context(name, words)  # type: ignore[attr-defined]
    mounts = [*POD["containers"][0]["volumeMounts"], *APPLICATION["driver"]["volumeMounts"]]
    assert str(path.parent) in {mount["mountPath"] for mount in mounts}


def test_nothing_runs_as_root_or_may_become_it() -> None:
    uid = int(re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)[0])
    assert f"useradd --uid {uid} " in DOCKERFILE
    parts = [APPLICATION["driver"], APPLICATION["executor"]]
    pods = [POD["securityContext"], *(part["podSecurityContext"] for part in parts)]
    for pod in pods:
        assert (pod["runAsNonRoot"], pod["runAsUser"], pod["fsGroup"]) == (True, uid, uid)
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [POD["containers"][0]["securityContext"], *(part["securityContext"] for part in parts)]:
        assert container["allowPrivilegeEscalation"] is False and container["capabilities"] == {"drop": ["ALL"]}
    assert POD["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_mount_has_a_volume() -> None:
    for volumes, containers in (
        (POD["volumes"], POD["containers"]),
        (APPLICATION["volumes"], [APPLICATION["driver"], APPLICATION["executor"]]),
    ):
        names = {volume["name"] for volume in volumes}
        for container in containers:
            assert {mount["name"] for mount in container["volumeMounts"]} == names


def test_versions_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert f"\npyspark[connect]=={APPLICATION['sparkVersion']} " in lock or (
        f"\npyspark=={APPLICATION['sparkVersion']} " in lock
    )
    properties = APPLICATION["sparkConf"]
    lines = (ROOT / "conf" / "spark-local.conf").read_text(encoding="utf-8").splitlines()
    local = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    shared = properties.keys() & local.keys()
    assert {"spark.sql.extensions", "spark.sql.catalog.spark_catalog", "spark.log.level"} <= shared
    assert {key: properties[key] for key in shared} == {key: local[key] for key in shared}


def test_everything_that_is_copied_is_sent_to_the_builder() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    model = re.findall(r"^ARG MODEL=(\S+)$", DOCKERFILE, re.MULTILINE)[0]
    for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.replace("${MODEL}", model).split():
            assert any(source == name or source.startswith(name.rstrip("/") + "/") for name in sent), source


# The image's first process


def first_process(folder: Path, *arguments: str, **variables: str) -> list[str]:
    """The command that it becomes, with stand-ins that print their words."""
    stand_in = '#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n'
    for name in ("bin/java", "bin/embedlake", "spark/bin/spark-submit"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(stand_in)
        file.chmod(0o755)
    for name in ("ivy/jars", "pod"):
        (folder / name).mkdir(parents=True)
    own = {"PATH": f"{folder}/bin:/usr/bin:/bin", "SPARK_HOME": f"{folder}/spark", "HOME": f"{folder}/pod"}
    done = subprocess.run(
        ["sh", ENTRYPOINT, *arguments], env=own | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line.replace(f"{folder}{os.sep}", "") for line in done.stdout.splitlines()]


def test_words_are_embedlake_s(tmp_path: Path) -> None:
    words = ["embed", "--config", "a b.yaml"]
    assert first_process(tmp_path, *words) == ["bin/embedlake", *words]
    home = tmp_path / "pod"
    assert (home / "ivy" / "jars").is_dir(), "Delta's jars, where Ivy can write"
    assert (home / "spark" / "spark-defaults.conf").read_text() == f"spark.jars.ivy {home}/ivy\n"


def test_a_driver_is_submitted_in_its_own_pod(tmp_path: Path) -> None:
    words = first_process(tmp_path, "driver", "--class", "Runner", "job.py", SPARK_DRIVER_BIND_ADDRESS="10.0.0.7")
    assert words[0] == "spark/bin/spark-submit"
    assert words[-5:] == ["--deploy-mode", "client", "--class", "Runner", "job.py"]
    assert "spark.driver.bindAddress=10.0.0.7" in words


def test_an_executor_gets_what_spark_hands_over(tmp_path: Path) -> None:
    handed = {
        "SPARK_DRIVER_URL": "spark://driver:7078",
        "SPARK_EXECUTOR_ID": "3",
        "SPARK_EXECUTOR_CORES": "4",
        "SPARK_APPLICATION_ID": "spark-1",
        "SPARK_EXECUTOR_POD_IP": "10.0.0.8",
        "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_EXECUTOR_POD_NAME": "exec-3",
        "SPARK_EXECUTOR_MEMORY": "2g",
        "SPARK_JAVA_OPT_0": "-Da=b c",
        "SPARK_JAVA_OPT_1": "-XX:+UseParallelGC",
    }
    words = first_process(tmp_path, "executor", **handed)
    assert words[:5] == ["bin/java", "-Da=b c", "-XX:+UseParallelGC", "-Xms2g", "-Xmx2g"]
    options = dict(zip(words[8::2], words[9::2], strict=True))
    assert options == {
        "--driver-url": "spark://driver:7078",
        "--executor-id": "3",
        "--cores": "4",
        "--app-id": "spark-1",
        "--hostname": "10.0.0.8",
        "--resourceProfileId": "0",
        "--podName": "exec-3",
    }
