"""What one machine is like: plain code that needs nothing but Python itself, 3.7 or newer.

It is sent to executors as text, because what it looks for is what may be missing there: embedlake, its packages, or the
Python that the driver has. It imports no other file of embedlake.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

Answer = TypeVar("Answer")

HALF_PRECISION = ("amx_tile", "avx512_bf16")
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
# As `udfs/models/files.py` has them; a test compares the two.
_MODEL_SUFFIXES = (".json", ".txt", ".safetensors", ".model", ".vocab")
_DOCUMENT = re.compile(r".*\.md|(LICENSE|NOTICE)[\w-]*(\.txt)?", re.ASCII)
_BLOCK = 1 << 20
_MOST_ANCESTORS = 8


def answer(text: str) -> str:
    """Looks at this machine.

    Args:
        text: The request as JSON: modules, model, local_dirs, store_folder, path.

    Returns:
        The facts as JSON. What cannot be found out is null.
    """
    request = json.loads(text)
    started = time.time()
    # What was sent with the job, as `--py-files` does, is beside the process.
    sys.path[:0] = [each for each in request.get("path", []) if os.path.exists(each)]
    facts = {
        "started": started,
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "modules": {name: _attempt(partial(_version, name)) for name in request["modules"]},
        "model": _attempt(lambda: _model(request["model"])),
        "gpus": _attempt(_gpus),
        "torch_cuda": _attempt(_torch_cuda),
        "cores": _attempt(lambda: len(os.sched_getaffinity(0))) or os.cpu_count(),
        "half_precision": _attempt(_half_precision),
        "memory": _attempt(_free_memory),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "disks": [_disk(folder) for folder in _local_dirs(request["local_dirs"])],
        "store_seen": _attempt(lambda: _sees(request.get("store_folder"))),
        "host": socket.gethostname(),
    }
    facts.update(_executor())
    # The last one: nothing that is slow comes after it.
    facts["ended"] = time.time()
    return json.dumps(facts)


def _attempt(work: Callable[[], Answer]) -> Answer | None:
    try:
        return work()
    except Exception:
        return None


def _version(module: str) -> str | None:
    """Finds a module without importing it; its version may be unknown, which is the empty text."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if module == "udfs":
        source = spec.loader.get_source(module) if spec.loader is not None else ""  # type: ignore[attr-defined]
        found = re.search(r'^__version__ = "([^"]+)"$', source or "", re.MULTILINE)
        return found[1] if found else ""
    return _distribution_version(module)


def _distribution_version(module: str) -> str:
    try:
        from importlib import metadata

        return str(metadata.version(module.replace("_", "-")))
    except Exception:  # Python 3.7, or a package without a record of its installation
        return ""


def _model(wanted: dict[str, str] | None) -> dict[str, object] | None:
    """Hashes the model's files, by their names; `found` is false where there is no folder."""
    if wanted is None:
        return None
    folder = wanted["path"]
    if wanted.get("revision"):
        folder = os.path.join(_hub_cache(), "models--" + folder.replace("/", "--"), "snapshots", wanted["revision"])
    if not os.path.isdir(folder):
        return {"found": False, "files": {}}
    return {"found": True, "files": model_files(folder)}


def _hub_cache() -> str:
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    return os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")


def model_files(root: str) -> dict[str, str]:
    """Hashes the files of a model folder that a loader may read.

    Args:
        root: The folder.

    Returns:
        SHA-256 (hex) by path relative to the folder; `unreadable` in its place if the file cannot be read.
    """
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            is_read = name.endswith(_MODEL_SUFFIXES) and not name.startswith(".") and not _DOCUMENT.fullmatch(name)
            if is_read:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, root).replace(os.sep, "/")] = _content_hash(path)
    return found


def _content_hash(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                digest.update(block)
    except OSError:
        return "unreadable"
    return digest.hexdigest()


def _gpus() -> dict[str, object]:
    """Asks NVIDIA's driver for the GPUs that this process may use, and for the CUDA that it supports."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"names": [], "cuda": None, "amd": os.path.exists("/dev/kfd")}
    number, version = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return {"names": [], "cuda": None, "amd": False}
    cuda.cuDriverGetVersion(ctypes.byref(version))
    names = []
    for index in range(number.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(200)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, 200, device)
        names.append(name.value.decode("ascii", "replace"))
    return {"names": names, "cuda": [version.value // 1000, version.value % 1000 // 10], "amd": False}


def _torch_cuda() -> str | None:
    """Reads which CUDA torch was built for, without importing torch; the empty text means none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    with open(os.path.join(os.path.dirname(spec.origin), "version.py"), encoding="utf-8") as file:
        text = file.read()
    found = re.search(r"^cuda\b[^=]*= *['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return found[1] if found else ""


def _half_precision() -> list[str] | None:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        first = file.read().partition("\n\n")[0]
    flags = set(re.findall(r"[\w.]+", " ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", first, re.MULTILINE))))
    return [flag for flag in HALF_PRECISION if flag in flags]


def _free_memory() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    found = [1024 * int(lines["MemAvailable"].split()[0])]
    for limit, used in _LIMITS:
        # Without a limit, the file says `max`.
        with contextlib.suppress(OSError, ValueError), open(limit) as most, open(used) as now:
            found.append(int(most.read()) - int(now.read()))
    return max(0, min(found))


def _local_dirs(configured: str | None) -> list[str]:
    # The cluster's own choice, by whichever name it has, comes before the property.
    for name, separator in (("SPARK_EXECUTOR_DIRS", os.pathsep), ("LOCAL_DIRS", ","), ("SPARK_LOCAL_DIRS", ",")):
        if os.environ.get(name):
            return os.environ[name].split(separator)
    return (configured or tempfile.gettempdir()).split(",")


def _disk(folder: str) -> dict[str, object]:
    existing = os.path.abspath(folder.strip())
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    free = _attempt(lambda: shutil.disk_usage(existing).free)
    return {"folder": existing, "free": free, "writable": os.access(existing, os.W_OK)}


def _sees(folder: str | None) -> bool | None:
    return None if folder is None else os.path.isdir(folder) and os.access(folder, os.W_OK)


def _executor() -> dict[str, object]:
    """Finds the Java process that this one belongs to: its number, and the executor's id and cores from its command."""
    process = os.getpid()
    for _ in range(_MOST_ANCESTORS):
        try:
            with open(f"/proc/{process}/stat") as file:
                process = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{process}/cmdline", "rb") as file:
                words = file.read().decode("utf-8", "replace").split("\0")
        except (OSError, ValueError, IndexError):
            break
        if "--executor-id" in words:
            cores = _attempt(partial(_number_after, words, "--cores"))
            return {"executor": words[words.index("--executor-id") + 1], "java": process, "executor_cores": cores}
        if os.path.basename(words[0]) == "java":
            return {"executor": None, "java": process, "executor_cores": None}
    return {"executor": None, "java": os.getppid(), "executor_cores": None}


def _number_after(words: list[str], option: str) -> int:
    return int(words[words.index(option) + 1])


if __name__ == "__main__":
    sys.stdout.write(answer(sys.stdin.readline()) + "\n")
