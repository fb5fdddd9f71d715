"""Plain text of the reports that jobs print: one line per fact, starting with a label."""

import os
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import InputError
from spark_jobs.runtime.json_text import json_text


def render_lines(lines: Sequence[tuple[str, str]], width: int = 11) -> str:
    """Aligns texts after their labels.

    Args:
        lines: Label and text of each line.
        width: Minimum number of characters for a label and the space after it.

    Returns:
        The text, without a line break at its end.

    Example:
        >>> print(render_lines([("space", "toy.main"), ("queries", "2")]))
        space      toy.main
        queries    2
    """
    column = max([width, *(len(label) + 1 for label, _ in lines)])
    return "\n".join(f"{label:<{column}}{text}" for label, text in lines)


def write_out(out: Path, values: object, remedy: str) -> None:
    """Writes values to the file that `--out` names, as JSON; raises InputError with the remedy if that fails."""
    write_text_out(out, json_text(values, indent=1) + "\n", remedy)


def write_text_out(out: Path, text: str, remedy: str) -> None:
    """Writes a text to the file that `--out` names; raises InputError with the remedy if that fails."""
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}. {remedy}") from error


def out_faults(out: Path | None) -> list[str]:
    """Says what is wrong with the file that `--out` names, if it names one; looked at before any work is done."""
    if out is None or (not out.is_dir() and os.access(out if out.exists() else out.absolute().parent, os.W_OK)):
        return []
    return [f"--out {out} cannot be written. Name a file in an existing folder that the job may write to."]
