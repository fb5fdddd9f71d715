"""Jupyter notebooks to Markdown: texts as they are, code in fences, and what the code printed."""

import json
from typing import Any

from schemas.reasons import UNPARSABLE
from udfs.parsing.html_text import write_html
from udfs.parsing.markdown import Markdown
from udfs.parsing.parsed import RefusedError, metadata_of
from udfs.parsing.plain import first_heading_of

# A run that printed its progress, or a whole table, says little about what the notebook is about.
_MOST_OUTPUT = 10_000


def write_notebook(text: str, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes a notebook. Pictures and other media are left out, and a long output is cut.

    Args:
        text: The notebook's JSON.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the notebook declares.
    """
    try:
        book = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(UNPARSABLE, "the notebook's JSON is damaged or cut off") from error
    cells = _cells(book)
    declared = book.get("metadata")
    declared = declared if isinstance(declared, dict) else {}
    language = _language(declared)
    first = None
    for cell in cells:
        source = _joined(cell.get("source", cell.get("input")))
        if cell.get("cell_type") == "markdown":
            out.verbatim(source)
            first = first or first_heading_of(source)
        elif cell.get("cell_type") == "heading":
            out.heading(cell["level"] if isinstance(cell.get("level"), int) else 1, source)
        elif cell.get("cell_type") == "code":
            out.code(source, language)
            _write_outputs(cell.get("outputs"), out)
        else:
            out.paragraph(source)
    title = declared.get("title")
    return title if isinstance(title, str) and title else first, None, metadata_of(author=_authors(declared))


def _cells(book: Any) -> list[dict[str, Any]]:
    holders = [book] if isinstance(book, dict) else []
    holders += [sheet for sheet in (holders and book.get("worksheets")) or [] if isinstance(sheet, dict)]
    cells = [cell for holder in holders for cell in holder.get("cells") or [] if isinstance(cell, dict)]
    if not holders:
        raise RefusedError(UNPARSABLE, "the notebook has no cells")
    return cells


def _language(declared: dict[str, Any]) -> str:
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        value = declared.get(key)
        if isinstance(value, dict) and isinstance(value.get(name), str) and value[name].isalnum():
            return str(value[name])
    return "python"


def _authors(declared: dict[str, Any]) -> str | None:
    authors = declared.get("authors")
    names = [one.get("name") for one in authors if isinstance(one, dict)] if isinstance(authors, list) else []
    return ", ".join(name for name in names if isinstance(name, str)) or None


def _joined(source: Any) -> str:
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str)).replace("\r\n", "\n")


def _write_outputs(outputs: Any, out: Markdown) -> None:
    for output in outputs if isinstance(outputs, list) else []:
        if not isinstance(output, dict):
            continue
        data: Any = output.get("data")
        data = data if isinstance(data, dict) else {}
        if output.get("output_type") == "error":
            name, value = output.get("ename"), output.get("evalue")
            out.code(f"{name}: {value}"[:_MOST_OUTPUT] if isinstance(name, str) else "")
        elif data.get("text/markdown"):
            out.verbatim(_joined(data["text/markdown"])[:_MOST_OUTPUT])
        elif "<table" in _joined(data.get("text/html")):
            write_html(_joined(data["text/html"])[:_MOST_OUTPUT], out)
        else:
            out.code(_joined(output.get("text") or data.get("text/plain"))[:_MOST_OUTPUT])
