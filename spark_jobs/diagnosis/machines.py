"""Facts about the driver's machine and about each executor, as the probe reports them."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spark_jobs.diagnosis import probe
from spark_jobs.settings.loading import Settings
from udfs.models.registered import is_registered
from udfs.models.source import is_fake

HERE = "the driver"
# Modules that workers import, by the name of the package that has them.
_ALWAYS = {"udfs": "embedlake", "pyspark": "pyspark", "pyarrow": "pyarrow", "pandas": "pandas", "numpy": "numpy"}
_OF_REAL_MODELS = {
    "torch": "torch",
    "sentence_transformers": "sentence-transformers",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "openvino": "openvino",
}
_PROBE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder for Spark's shuffles.

    Attributes:
        folder: The folder, or the nearest one above it that exists.
        free: Free bytes; None if unknown.
        writable: Whether the process may write there.
    """

    folder: str
    free: int | None
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What one process of the cluster sees of its machine.

    Attributes:
        place: Its name in messages: the driver, or an executor with its host.
        host: Name of the machine.
        failed: Exit code of the Python that could not run the probe; None if it ran. Nothing else is known then.
        python: Version of Python.
        executable: Path of Python.
        packages: Version of each package; None if it is missing, empty if it has no version.
        has_model: Whether the model's folder is there; None if the model is a stand-in.
        model_files: Digests of the model's files.
        gpus: Names of the GPUs that the process may use.
        cuda: Version of CUDA that the GPU's driver supports; None without one.
        has_amd: Whether the machine has a GPU of AMD's.
        torch_cuda: Version of CUDA that torch was built for; empty for none, None without torch.
        cores: Number of cores that the process may use; None if unknown.
        executor_cores: Number of cores that Spark gives the executor; None if unknown.
        half_precision: Instructions for half precision; None if unknown.
        memory: Bytes that are free on the machine, or in its container; None if unknown.
        threads: Value of OMP_NUM_THREADS; None if it is not set.
        disks: Folders for shuffles.
        sees_store: Whether it sees a folder that the driver made in the store; None if that was not asked.
        seconds_ahead: Least number of seconds by which its clock differs from the driver's; negative if it is behind.
    """

    place: str
    host: str
    failed: int | None = None
    python: tuple[int, ...] = ()
    executable: str = ""
    packages: Mapping[str, str | None] = field(default_factory=dict)
    has_model: bool | None = None
    model_files: Mapping[str, str] = field(default_factory=dict)
    gpus: Sequence[str] = ()
    cuda: tuple[int, ...] | None = None
    has_amd: bool = False
    torch_cuda: str | None = None
    cores: int | None = None
    executor_cores: int | None = None
    half_precision: Sequence[str] | None = None
    memory: int | None = None
    threads: str | None = None
    disks: Sequence[Disk] = ()
    sees_store: bool | None = None
    seconds_ahead: float = 0.0


def needed_packages(settings: Settings) -> dict[str, str]:
    """Lists the modules that workers import for the settings' model, with the package of each."""
    return _ALWAYS if is_fake(settings.model.path) else {**_ALWAYS, **_OF_REAL_MODELS}


def request_of(
    settings: Settings, local_dirs: str | None = None, store_folder: str | None = None, path: Sequence[str] = ()
) -> str:
    """Builds the request to the probe.

    Args:
        settings: Names the model.
        local_dirs: Value of `spark.local.dir`.
        store_folder: Folder of the store that every executor should see.
        path: Folders and zip files that Spark puts on the path of workers.

    Returns:
        JSON on one line.
    """
    model = settings.model
    # A path that does not exist here may exist there; what looks like a hub name has a revision. Versions of a registry
    # are fetched where they are needed.
    is_elsewhere = is_fake(model.path) or is_registered(model.path)
    wanted = None if is_elsewhere else {"path": model.path, "revision": model.revision}
    modules = list(needed_packages(settings))
    return json.dumps(
        {
            "modules": modules,
            "model": wanted,
            "local_dirs": local_dirs,
            "store_folder": store_folder,
            "path": list(path),
        }
    )


def probe_source() -> str:
    """Reads the code of the probe, from a folder or from the zip of spark-submit."""
    return inspect.getsource(probe)


def driver_machine(settings: Settings) -> Machine:
    """Runs the probe in a process of its own on this machine, so that no driver of a GPU is loaded into this one.

    Args:
        settings: Names the model.

    Returns:
        The facts; `failed` if the process did not answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe_source()],
            input=request_of(settings, settings.spark.properties.get("spark.local.dir")) + "\n",
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.CalledProcessError as error:
        return Machine(place=HERE, host="", failed=error.returncode)
    except subprocess.TimeoutExpired:
        return Machine(place=HERE, host="", failed=-1)
    return machine_of(json.loads(done.stdout), needed_packages(settings), HERE, None)


def machine_of(
    facts: Mapping[str, Any], packages: Mapping[str, str], place: str | None, asked: tuple[float, float] | None
) -> Machine:
    """Turns what a probe reports into facts.

    Args:
        facts: The probe's answer.
        packages: Package of each module.
        place: Name of the machine in messages; None for that of its executor.
        asked: The driver's times before and after the job of the probe; None if its clock is the driver's.

    Returns:
        The facts.
    """
    host, gpus, model = str(facts.get("host", "")), facts.get("gpus") or {}, facts.get("model")
    executor = facts.get("executor")
    if place is None:
        place = f"executor {executor} on {host}" if executor is not None else f"the executor on {host}"
    if "failed" in facts:
        return Machine(place=place, host=host, failed=int(facts["failed"]))
    return Machine(
        place=place,
        host=host,
        python=tuple(facts["python"]),
        executable=str(facts["executable"]),
        packages={packages[module]: version for module, version in facts["modules"].items()},
        has_model=None if model is None else bool(model["found"]),
        model_files={} if model is None else model["files"],
        gpus=gpus.get("names", []),
        cuda=tuple(gpus["cuda"]) if gpus.get("cuda") else None,
        has_amd=bool(gpus.get("amd")),
        torch_cuda=facts["torch_cuda"],
        cores=facts["cores"],
        executor_cores=facts["executor_cores"],
        half_precision=facts["half_precision"],
        memory=facts["memory"],
        threads=facts["threads"],
        disks=[Disk(**disk) for disk in facts["disks"]],
        sees_store=facts["store_seen"],
        seconds_ahead=0.0 if asked is None else seconds_ahead(facts["started"], facts["ended"], *asked),
    )


def seconds_ahead(started: float, ended: float, before: float, after: float) -> float:
    """Bounds the difference of two clocks from below.

    The probe began after `before` and ended before `after`, both by the driver's clock.

    Args:
        started: When it began, by its own clock.
        ended: When it ended, by its own clock.
        before: The driver's time before the probe was sent.
        after: The driver's time after its answer.

    Returns:
        Seconds by which the other clock is ahead at least; negative if it is behind, 0 if the two may agree.

    Example:
        >>> seconds_ahead(101.0, 102.0, 100.0, 104.0), seconds_ahead(201.0, 202.0, 100.0, 104.0)
        (0.0, 98.0)
    """
    if ended > after:
        return ended - after
    return min(0.0, started - before)
