"""When a file was written, and whether a later change of it would show: git's rule for racy entries; no Spark."""

import os

# Clocks of file systems tick in steps of up to two seconds, and differ from that of the driver.
MARGIN_SECONDS = 10
_MICROSECONDS = 1_000_000
# What Spark and Python both take for a time.
_FIRST, _LAST = -62_135_596_800 * _MICROSECONDS, 253_402_300_799 * _MICROSECONDS


def microseconds(found: os.stat_result) -> int:
    """Returns when a file was modified, in microseconds since 1970, within what a timestamp can hold."""
    return min(max(found.st_mtime_ns // 1000, _FIRST), _LAST)


def is_racy(modified: int, seen_at: int, margin: int = MARGIN_SECONDS * _MICROSECONDS) -> bool:
    """Whether a file could change after it was read and look the same: equal length, and a time of the same tick.

    Args:
        modified: When the file was modified before it was read, in microseconds since 1970.
        seen_at: When the listing began that found it.
        margin: How far clocks may be apart, and how long a tick may last.

    Returns:
        Whether it must be read again, however it looks.

    Example:
        >>> is_racy(100, 200, margin=50), is_racy(180, 200, margin=50)
        (False, True)
    """
    return modified >= seen_at - margin
