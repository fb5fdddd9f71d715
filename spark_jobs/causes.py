"""What an error of Spark says, in one line."""


def cause_of(error: BaseException) -> str:
    """Takes the first line with words from an error's message; the rest is plans and stack traces.

    Args:
        error: Any error.

    Returns:
        The line, or the error's type where it says nothing.
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
