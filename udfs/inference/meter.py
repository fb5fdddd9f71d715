"""What inference took, counted where it happens."""

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
    """Counts and seconds since they were last taken; all stages write to one.

    Attributes:
        passes: Forward passes that went well.
        tokens: Tokens that the model saw.
        computed: Tokens that were computed, padding included.
        out_of_memory: Passes that did not fit into memory.
        retried: Texts that were embedded again, alone.
        read: Seconds of waiting for texts.
        tokenise: Seconds of counting their tokens and making ids.
        forward: Seconds of forward passes.
        forward_waited: Seconds in which the forward stage had nothing to do.
        collect: Seconds of copying and checking rows.
        collect_waited: Seconds in which the collecting stage had nothing to do.
        encode: Seconds of making Arrow batches.
        write: Seconds of waiting until these were taken.
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
        """Adds to counts or seconds.

        Args:
            **amounts: Amounts by attribute.
        """
        with _LOCK:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds of what it surrounds, also where that fails.

        Args:
            name: Attribute.
        """
        began = perf_counter()
        try:
            yield
        finally:
            self.add(**{name: perf_counter() - began})

    def take(self) -> dict[str, float]:
        """Hands over what was counted and begins again from zero.

        Returns:
            Amounts by attribute.
        """
        with _LOCK:
            taken = {field.name: float(getattr(self, field.name)) for field in fields(self)}
            for name in taken:
                setattr(self, name, 0)
        return taken


def reset_peak(device: str) -> None:
    """Begins to watch anew.

    Args:
        device: Torch device name.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    # Linux forgets the peak when it is told 5; elsewhere, and where it is not allowed, peaks only grow.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mebibytes(device: str) -> float:
    """Reads the peak.

    Args:
        device: Torch device name.

    Returns:
        Mebibytes.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / _MEBIBYTE
    with suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text()
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kibibytes) / 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * _RSS_UNIT / _MEBIBYTE
