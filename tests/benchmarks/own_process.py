"""A function in a process of its own: its session is cold, its peak of memory its own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of a module in a fresh interpreter.

    Args:
        function: The function.
        *arguments: What it takes.

    Returns:
        What it returns.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
