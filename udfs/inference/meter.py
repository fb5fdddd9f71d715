"""Counts, seconds and peak memory of inference."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from threading import Lock
from time import perf_counter

_LOCK = Lock()
_MEBIBYTE = 2**20
# getrusage counts kibibytes on Linux and bytes on macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(slots=True)
class Meter:
    """Counts and seconds since the last call of `take`. All stages of a pipeline share one meter.

    Attributes:
        passes: Forward passes that succeeded.
        tokens: Tokens that the model saw.
        computed: Tokens computed, including padding.
        out_of_memory: Passes that did not fit into memory.
        retried: Texts embedded again one at a time.
        read: Seconds spent waiting for texts.
        tokenise: Seconds spent counting tokens and building ids.
        forward: Seconds spent in forward passes.
        forward_waited: Seconds that the forward stage waited for windows.
        collect: Seconds spent copying and checking rows.
        collect_waited: Seconds that the collecting stage waited for passes.
        encode: Seconds spent building Arrow batches.
        write: Seconds spent waiting for Spark to accept the batches.
    """

    passes: float = 0
    tokens: float = 0
    computed: float = 0
    out_of_memory: float = 0
    retried: float = 0
    read: float = 0
    tokenise: float = 0
    forward: float = 0
    forward_waited: float = 0
    collect: float = 0
    collect_waited: float = 0
    encode: float = 0
    write: float = 0

    def add(self, **amounts: float) -> None:
        """Adds each amount to the attribute of the same name."""
        with _LOCK:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the duration of its block to an attribute, even if the block raises an error."""
        began = perf_counter()
        try:
            yield
        finally:
            self.add(**{name: perf_counter() - began})

    def take(self) -> dict[str, float]:
        """Returns the value of each attribute and resets all of them to zero."""
        with _LOCK:
            taken = {field.name: float(getattr(self, field.name)) for field in fields(self)}
            for name in taken:
                setattr(self, name, 0)
        return taken


def reset_peak(device: str) -> None:
    """Restarts the measurement of peak memory: of the GPU for a CUDA device, otherwise of this process."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    # Writing 5 resets the peak on Linux. On other systems, or without permission, the peak only grows.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mebibytes(device: str) -> float:
    """Returns the peak memory in MiB: of the GPU for a CUDA device, otherwise of this process."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / _MEBIBYTE
    with suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text()
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kibibytes) / 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * _RSS_UNIT / _MEBIBYTE
