"""What a worker's machine can do, found without torch, whose import takes seconds."""

import ctypes
import hashlib
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

from udfs.specs import Precision

# The drivers of GPUs that torch calls `cuda`: a library of NVIDIA's, and the device of AMD's.
_NVIDIA, _AMD = "libcuda.so.1", Path("/dev/kfd")
_CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = frozenset({"amx_tile", "avx512_bf16"})
# What a container may use and what it does use, by either version of control groups.
_MEMORY_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def is_cpu_only(device: str) -> bool:
    """Whether a model certainly runs on the processor.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.

    Returns:
        False if only torch can tell, because the machine has the driver of a GPU.
    """
    return device == "cpu" or (device == "auto" and not _has_gpu_driver())


@cache
def _has_gpu_driver() -> bool:
    with suppress(OSError):
        ctypes.CDLL(_NVIDIA)
        return True
    return _AMD.exists()


def cpu_dtype(dtype: str) -> Precision:
    """Chooses the floating-point type of a forward pass on the processor.

    Args:
        dtype: `auto` or the name of a type.

    Returns:
        The type. Half precision is far slower than float32 on processors without instructions for it.
    """
    if dtype != "auto":
        return dtype  # type: ignore[return-value]  # the settings allow nothing else
    return "bfloat16" if _BFLOAT16_FLAGS & instructions() else "float32"


def instructions() -> frozenset[str]:
    """Returns the names of the processor's instruction sets, as Linux shows them; none on other systems."""
    described = _described()
    return frozenset(described.get("flags", described.get("Features", "")).split())


@cache
def processor() -> str:
    """Describes the processor in one line: its name, and a digest of its instructions, which decide what is fast."""
    described = _described()
    flags = " ".join(sorted(instructions()))
    name = described.get("model name", platform.processor() or "unknown")
    return f"{platform.machine()} {name} {hashlib.sha256(flags.encode()).hexdigest()[:12]}"


def free_memory() -> int | None:
    """Returns the bytes that this process may still take, of the machine and of its container; None if unknown."""
    found = []
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    for limit, used in _MEMORY_LIMITS:
        # Without a limit, the file says `max`.
        with suppress(OSError, ValueError):
            found.append(int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii")))
    return max(0, min(found)) if found else None


@cache
def _described() -> dict[str, str]:
    """Reads what Linux says of the first processor."""
    with suppress(OSError):
        first = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
    return {}
