"""What a worker process checks and knows about itself."""

import sys

from pyspark import TaskContext

from schemas.errors import InputError
from udfs import __version__


def require_version(driver_version: str | None = None) -> str:
    """Makes sure that executors run the code the driver runs.

    Args:
        driver_version: Version that the driver sent along; None on the driver itself.

    Returns:
        The version found here.

    Raises:
        InputError: The versions differ.
    """
    if driver_version not in (None, __version__):
        raise InputError(
            f"executors have embedlake {__version__}, the driver has {driver_version}: install one version everywhere "
            f"(Python here: {sys.executable})"
        )
    return __version__


def task_cores() -> int:
    """Counts the processor cores of the running task.

    Returns:
        `spark.task.cpus` or the stage profile's; 1 outside a task.
    """
    context = TaskContext.get()
    return int(context.cpus()) if context else 1
