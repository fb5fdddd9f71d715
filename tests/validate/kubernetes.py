"""The files for Kubernetes, held to its schemas and the Spark operator's, and the image's recipe carried out.

Run by `make validate-kubernetes`, or with the names of parts: schemas, image. Neither a cluster nor Docker is needed:
`image` carries out the recipe line by line in a throw-away copy of this system, as root, and then starts what pods
would start, as their user, with nothing but their volumes to write to.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.booted import Booted, booted, missing  # noqa: E402
from tests.support.environments import python_with  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.quick_start import compare, copied_out, edit  # noqa: E402
from tests.validate.real_data import MODEL, need  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "kubernetes.json"
FOLDER = ROOT / "conf" / "schedules" / "kubernetes"
FILES = ("cronjob.yaml", "spark-application.yaml", "scheduled-spark-application.yaml")
PACKAGES = ("kubernetes-validate==1.37.0", "kubeflow-spark-api==2.4.0")
VERSIONS = ("1.31", "1.34", "1.37")
DRIVER, MASTER = 40_911, 40_912
# Says for each object whether its schema takes it; what is not in a schema is refused too.
JUDGE = """
import json, sys
import kubeflow_spark_api.models as models
import kubernetes_validate

def judge(item, version):
    if item["apiVersion"].startswith("sparkoperator"):
        model = getattr(models, "SparkV1beta2" + item["kind"])
        return model.from_dict(item).to_dict() == item
    kubernetes_validate.validate(item, version, strict=True)
    return True

answers = []
for item, version in json.load(sys.stdin):
    try:
        answers.append(judge(item, version))
    except Exception:
        answers.append(False)
json.dump(answers, sys.stdout)
"""


def objects(name: str) -> list[dict[str, Any]]:
    """The objects of a file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def schemas(outcome: Outcome, _scratch: Path) -> None:
    """Asks the schemas about every object, and about each with one name misspelled."""
    everything = [item for name in FILES for item in objects(name)]
    asked = [(item, version) for item in everything for version in VERSIONS]
    for (item, version), answer in zip(asked, _judged(asked), strict=True):
        by = "the operator's" if item["apiVersion"].startswith("sparkoperator") else f"Kubernetes {version}"
        if by != "the operator's" or version == VERSIONS[0]:
            outcome.equal(f"{item['kind']} {item['metadata']['name']}: fits {by} schema", answer, True)
    spoiled = [found for item in everything for found in _misspelled(item)]
    answers = _judged([(item, VERSIONS[-1]) for item in spoiled])
    outcome.equal("objects with one name misspelled that are refused", answers.count(False), len(spoiled))
    outcome.measured(packages=", ".join(PACKAGES))


def _judged(asked: list[tuple[dict[str, Any], str]]) -> list[bool]:
    python = python_with("kubernetes", PACKAGES)
    done = subprocess.run([python, "-c", JUDGE], input=json.dumps(asked), capture_output=True, text=True, check=True)
    answers: list[bool] = json.loads(done.stdout)
    return answers


def _misspelled(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Copies of an object, each with one name in it changed; names that are the user's own are left out."""
    own = {"data", "labels", "sparkConf", "requests", "limits", "metadata"}
    found: list[dict[str, Any]] = []

    def walk(node: Any, path: tuple[Any, ...]) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(node, dict) and path:
                found.append(json.loads(json.dumps(item)))
                place = found[-1]
                for step in path:
                    place = place[step]
                place[key + "x"] = place.pop(key)
            if key not in own and isinstance(value, dict | list):
                walk(value, (*path, key))

    walk({key: value for key, value in item.items() if key not in own}, ())
    return found


# The image


@dataclass
class Image:
    """What a recipe has made so far, in the copy of the system."""

    system: Booted
    arguments: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)

    def build(self) -> None:
        """Carries out the recipe."""
        for instruction, rest in instructions(FOLDER / "Dockerfile"):
            began = time.monotonic()
            getattr(self, f"_{instruction.lower()}")(rest)
            print(f"      {instruction} {rest[:90]} ({time.monotonic() - began:.0f} s)", flush=True)

    def _from(self, rest: str) -> None:
        assert rest == "python:3.11-slim-bookworm"
        self.environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.arguments.setdefault(name, default)

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.environment[name] = value

    def _run(self, rest: str) -> None:
        # Behind a company's proxy, clients are told whose certificates to trust.
        trusted = {name: os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ}
        variables = [f"{name}={value}" for name, value in {**trusted, **self.arguments, **self.environment}.items()]
        self.system.run("env", "-i", *variables, "sh", "-c", f"cd {self.folder} && {rest}")

    def _copy(self, rest: str) -> None:
        for name, value in self.arguments.items():
            rest = rest.replace(f"${{{name}}}", value)
        sources, _, target = rest.rpartition(" ")
        # Of a folder its content is copied; several sources go into a folder.
        into = f"mkdir -p {target} && cp -L" if target.endswith("/") else "cp -rLT"
        self.system.run("sh", "-c", f"cd {ROOT} && {into} {sources} {target}")

    def _user(self, rest: str) -> None:
        self.user = rest

    def _workdir(self, rest: str) -> None:
        self.folder = rest

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = json.loads(rest)

    def pod(self, arguments: list[str], variables: dict[str, str], offline: bool = True) -> tuple[int, str]:
        """Runs a container of a pod: with its user, nothing to write but its volumes, and no network if asked."""
        uid, gid = self.user.split(":")
        own = [f"{name}={value}" for name, value in {**self.environment, **variables}.items()]
        rights = f"setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs --bounding-set -all"
        command = shlex.join(["env", "-i", *own, *self.entrypoint, *arguments])
        volumes = "for v in /data /scratch; do mount --bind $v $v; done; mount -o remount,bind,ro /"
        line = f"ip link set lo up 2>/dev/null; {volumes}; cd {self.folder}; exec {rights} {command}"
        unshared = ["unshare", "--mount", *(["--net"] if offline else []), "sh", "-c", line]
        ending = 'code=$?; echo; echo "ended with $code"'
        done = self.system.run("sh", "-c", f"{shlex.join(unshared)} 2>&1; {ending}", check=False)
        text, _, code = done.rpartition("\nended with ")
        return int(code), text


def instructions(recipe: Path) -> list[tuple[str, str]]:
    """The instructions of a recipe for an image, each as its word and the rest."""
    lines = [line for line in recipe.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(found[1], found[2]) for line in joined.splitlines() if (found := re.match(r"([A-Z]+) (.*)", line))]


def image(outcome: Outcome, scratch: Path) -> None:
    """Builds the image, and starts what pods start."""
    need(MODEL, *list(ROOT.glob("dist/embedlake-*.whl"))[:1] or [ROOT / "dist"])
    layer = Path(scratch, "layer")
    layer.mkdir()
    with booted(Path(scratch, "log"), layer) as system:
        # The package index has torch for CUDA alone.
        built = Image(system, {"TORCH": ""})
        began = time.monotonic()
        built.build()
        outcome.measured(build_seconds=round(time.monotonic() - began))
        one_pod(outcome, built, scratch)
        cluster(outcome, built, scratch)
        versions = "from importlib.metadata import version as v; print(*(f'{n} {v(n)}' for n in ('pyspark', 'torch')))"
        outcome.measured(image_versions=system.run("/opt/embedlake/bin/python3", "-c", versions))


def one_pod(outcome: Outcome, built: Image, scratch: Path) -> None:
    """Runs the CronJob's container on a real library, without a network."""
    config, _, job = objects("cronjob.yaml")
    container = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    built.system.write("/etc/embedlake/settings.yaml", config["data"]["settings.yaml"])
    built.system.run("sh", "-c", "mkdir -p /data/handbook /scratch && chown 10001:10001 /data /scratch")
    source = _source(built, scratch)
    code, text = built.pod(["--help"], variables)
    outcome.equal("--help: exit code", (code, "Usage: embedlake" in text), (0, True))
    code, text = built.pod(["doctor", "--config", "/etc/embedlake/settings.yaml"], variables)
    print(text)
    outcome.equal("doctor: exit code", code, 0)
    code, text = built.pod(container["args"], variables)
    outcome.equal("embed: exit code", code, 0)
    held(outcome, "one pod, first load", built, source, scratch)
    code, _ = built.pod([*container["args"], "--set", "model.path=/absent"], variables)
    outcome.equal("embed without its model: exit code", code, 2)


def cluster(outcome: Outcome, built: Image, scratch: Path) -> None:
    """Runs the application's driver with an executor that is a process of its own, as Spark starts them in pods."""
    spec = objects("spark-application.yaml")[-1]["spec"]
    variables = {entry["name"]: entry["value"] for entry in spec["driver"]["env"]} | {
        "HOME": "/scratch",
        "SPARK_LOCAL_DIRS": "/scratch",
        "SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1",
    }
    properties = {
        **spec["sparkConf"],
        "spark.master": f"spark://127.0.0.1:{MASTER}",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.port": str(DRIVER),
        "spark.executor.memory": "1g",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
    }
    built.system.write("/etc/spark.properties", "".join(f"{key} {value}\n" for key, value in properties.items()))
    main = ["--class", "org.apache.spark.deploy.PythonRunner", spec["mainApplicationFile"].removeprefix("local://")]
    arguments = ["driver", "--properties-file", "/etc/spark.properties", *main, *spec["arguments"]]
    source = _source(built, scratch)
    edit(source, changed=5, removed=1, added=1)
    _put(built, source)
    _start_executor(built, variables)
    code, text = built.pod(arguments, variables, offline=False)
    outcome.equal("driver and executor: exit code", code, 0)
    outcome.equal("driver and executor: documents", "5 changed" in text and "1 removed" in text, True)
    held(outcome, "driver and executor, refresh", built, source, scratch)
    code, text = built.pod([*arguments, "--set", "model.path=/absent"], variables, offline=False)
    outcome.equal("driver without its model: exit code", code, 2)


def _start_executor(built: Image, variables: dict[str, str]) -> None:
    """Starts a master, which starts nothing, and the image's executor, which waits for each driver in turn."""
    handed = {
        **variables,
        "SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@127.0.0.1:{DRIVER}",
        "SPARK_EXECUTOR_ID": "0",
        "SPARK_EXECUTOR_CORES": "2",
        "SPARK_APPLICATION_ID": "spark-1",
        "SPARK_EXECUTOR_POD_IP": "127.0.0.1",
        "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_EXECUTOR_POD_NAME": "executor-0",
        "SPARK_EXECUTOR_MEMORY": "1g",
    }
    master = (
        f"/opt/embedlake/spark/bin/spark-class org.apache.spark.deploy.master.Master --host 127.0.0.1 --port {MASTER}"
    )
    built.system.run("sh", "-c", f"setsid {master} --webui-port 0 >/var/log/master 2>&1 </dev/null &")
    uid, gid = built.user.split(":")
    own = shlex.join(f"{name}={value}" for name, value in {**built.environment, **handed}.items())
    command = f"setpriv --reuid {uid} --regid {gid} --clear-groups env -i {own} {shlex.join(built.entrypoint)} executor"
    loop = f"cd /scratch; while :; do {command}; sleep 1; done"
    built.system.run("sh", "-c", f"setsid sh -c {shlex.quote(loop)} >/var/log/executor 2>&1 </dev/null &")


def _source(built: Image, scratch: Path) -> Path:
    """The documents of the quick start under the names that the settings have; they are read only by pods."""
    source = scratch / "documents.parquet"
    if not source.exists():
        collect = [sys.executable, ROOT / "quickstart" / "collect_docstrings.py", "--out", source]
        subprocess.run(collect, check=True)
        table = pq.read_table(source)
        pq.write_table(
            table.rename_columns(["body" if name == "text" else name for name in table.column_names]), source
        )
        _put(built, source)
    return source


def _put(built: Image, source: Path) -> None:
    Path(f"/proc/{built.system.pid}/root/data/handbook/documents.parquet").write_bytes(source.read_bytes())


def held(outcome: Outcome, what: str, built: Image, source: Path, scratch: Path) -> None:
    """Compares the tables with the source."""
    compare(outcome, what, source, copied_out(built.system, "/data/lake/handbook/main", scratch), None, text="body")


PARTS: dict[str, Callable[[Outcome, Path], None]] = {"schemas": schemas, "image": image}


def main() -> None:
    """Runs the parts; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"parts to run: {', '.join(PARTS)}; all by default")
    names = parser.parse_args().parts or list(PARTS)
    if "image" in names and (reason := missing()):
        sys.exit(f"make validate-kubernetes: {reason}")
    faults = []
    for name in names:
        outcome = Outcome(f"kubernetes: {name}")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            PARTS[name](outcome, Path(scratch))
        write_outcome(RESULTS, outcome, "make validate-kubernetes")
        faults += outcome.faults
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
