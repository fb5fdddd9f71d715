"""Patterns of file names as Spark's option pathGlobFilter takes them, for a folder that is listed without Spark."""

import re
from collections.abc import Callable


def matcher(pattern: str | None) -> Callable[[bytes], bool]:
    """Builds the test whether a file's name fits a pattern, by the rules of Hadoop.

    Args:
        pattern: With `*`, `?`, classes such as `[a-c]` and `[!x]`, choices such as `{pdf,docx}`, and a backslash before
            a sign that is meant as it is; None fits every name.

    Returns:
        The test, of a name's bytes.

    Raises:
        ValueError: A bracket or brace is not closed.

    Example:
        >>> fits = matcher("*.{pdf,docx}")
        >>> fits(b"a b.pdf"), fits(b"a.pdf.txt")
        (True, False)
    """
    if pattern is None:
        return lambda _: True
    expression = re.compile(_expression(pattern), re.DOTALL)
    # Java sees no name that is not UTF-8; the folder is refused for it.
    return lambda name: expression.fullmatch(name.decode("utf-8", "surrogateescape")) is not None


def _expression(pattern: str) -> str:
    parts, depth, position = [], 0, 0
    while position < len(pattern):
        sign = pattern[position]
        position += 1
        if sign == "\\":
            parts.append(re.escape(pattern[position : position + 1] or "\\"))
            position += 1
        elif sign == "[":
            inside, position = _class(pattern, position)
            parts.append(inside)
        elif sign == "{":
            depth += 1
            parts.append("(?:")
        elif sign == "}" and depth:
            depth -= 1
            parts.append(")")
        elif sign == "," and depth:
            parts.append("|")
        else:
            parts.append({"*": ".*", "?": "."}.get(sign) or re.escape(sign))
    if depth:
        raise ValueError("a brace is not closed")
    return "".join(parts)


def _class(pattern: str, start: int) -> tuple[str, int]:
    """Translates a class of characters; returns it and where it ends."""
    is_negated = pattern[start : start + 1] in ("!", "^") and len(pattern) > start + 1
    end = pattern.find("]", start + is_negated + 1)
    if end < 0:
        raise ValueError("a bracket is not closed")
    inside = pattern[start + is_negated : end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
    return f"[{'^' if is_negated else ''}{inside}]", end + 1
