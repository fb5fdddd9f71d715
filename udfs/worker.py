"""What a worker process knows about itself: the version of its code and the cores of its task."""

import sys

from pyspark import TaskContext

from schemas.errors import InputError
from udfs import __version__


def require_version(driver_version: str | None = None) -> str:
    """Checks that executors run the same version as the driver.

    Args:
        driver_version: The version that the driver sent; None on the driver itself.

    Returns:
        The version of this process.

    Raises:
        InputError: The versions differ.
    """
    if driver_version not in (None, __version__):
        raise InputError(
            f"executors have embedlake {__version__}, but the driver has {driver_version}. "
            f"Install the same version everywhere; Python here is {sys.executable}."
        )
    return __version__


def task_cores() -> int:
    """Returns the cores of the running task, from the stage profile or `spark.task.cpus`; 1 outside a task."""
    context = TaskContext.get()
    return int(context.cpus()) if context else 1
