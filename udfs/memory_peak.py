"""The most memory that was in use: of the GPU where the model runs on one, else of this process."""

import sys
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

_MEBIBYTE = 2**20
# getrusage counts kibibytes on Linux and bytes on macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


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
