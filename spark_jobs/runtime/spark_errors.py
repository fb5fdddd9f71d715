"""What an error of Spark says, in one line."""

import re

# Spark and Delta begin what they have to say with the name of its condition; Py4J puts a line of its own before it.
_CONDITION = re.compile(r"\[[A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*\] [^\n]*")
_PY4J = "An error occurred while calling"


def cause_of(error: BaseException) -> str:
    """Takes from an error's message the one line that says what is wrong; the rest is plans and stack traces.

    Args:
        error: Any error.

    Returns:
        The line, or the error's type where it says nothing.
    """
    condition = _CONDITION.search(str(error))
    if condition is not None:
        return condition[0].strip()
    lines = (line.strip(" :\t") for line in str(error).splitlines())
    return next((line for line in lines if line and not line.startswith(_PY4J)), type(error).__name__)
