"""Markdown and plain text, which pass as they are."""

import re

from udfs.parsing.markdown import Markdown, collapsed
from udfs.parsing.parsed import iso_date, language_of, metadata_of

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FRONT = re.compile(r"---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(title|author|date|lang|language|description|keywords|tags):[ \t]*(.+)$", re.MULTILINE)


def write_markdown(text: str, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes Markdown as it is, without its front matter.

    Args:
        text: The document.
        out: Where the text goes.

    Returns:
        Title, language and metadata that its front matter declares; the title may be its first heading.
    """
    front = _FRONT.match(text)
    fields = {name: value.strip().strip("\"'") for name, value in _FIELD.findall(front[1])} if front else {}
    body = text[front.end() :] if front else text
    out.verbatim(body)
    metadata = metadata_of(
        author=fields.get("author"),
        created=iso_date(fields.get("date")),
        keywords=fields.get("keywords") or fields.get("tags"),
        description=fields.get("description"),
    )
    language = language_of(fields.get("lang") or fields.get("language"))
    return fields.get("title") or first_heading_of(body), language, metadata


def first_heading_of(text: str) -> str | None:
    """The first heading of Markdown, wherever it stands outside code."""
    fence, before = "", ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark:
            fence = mark[1][0] if not fence else "" if mark[1][0] == fence else fence
        elif not fence:
            found = _HEADING.match(line)
            if found or (_UNDERLINE.match(line) and before):
                return collapsed(found[1] if found else before)
        before = line.strip()
    return None
