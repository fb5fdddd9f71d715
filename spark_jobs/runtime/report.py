"""Plain text of the reports that jobs print: one line a fact, with a label in front."""

from collections.abc import Sequence


def render_lines(lines: Sequence[tuple[str, str]], width: int = 11) -> str:
    """Aligns the texts behind their labels.

    Args:
        lines: Label and text of each line.
        width: Characters that a label takes at least, the space behind it included.

    Example:
        >>> print(render_lines([("space", "toy.main"), ("queries", "2")]))
        space      toy.main
        queries    2
    """
    column = max([width, *(len(label) + 1 for label, _ in lines)])
    return "\n".join(f"{label:<{column}}{text}" for label, text in lines)
