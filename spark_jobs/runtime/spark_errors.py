"""The cause of an error from Spark, in one line."""

import re

# Messages of Spark and Delta begin with the name of a condition; Py4J puts its own line before them.
_CONDITION = re.compile(r"\[[A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*\] [^\n]*")
_PY4J = "An error occurred while calling"


def cause_of(error: BaseException) -> str:
    """Finds the one line of an error's message that says what is wrong; the rest is plans and stack traces.

    An error without a message is named by its type.
    """
    condition = _CONDITION.search(str(error))
    if condition is not None:
        return condition[0].strip()
    lines = (line.strip(" :\t") for line in str(error).splitlines())
    return next((line for line in lines if line and not line.startswith(_PY4J)), type(error).__name__)
