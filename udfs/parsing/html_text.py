"""HTML to Markdown, as a stream: no tree is built, so depth and size cost little."""

import re
from dataclasses import dataclass, field
from typing import Any

from udfs.parsing.decoding import declared_in, decode
from udfs.parsing.markdown import Markdown, collapsed
from udfs.parsing.parsed import iso_date, language_of, metadata_of

# No text, or clearly navigation.
_SKIPPED = {"script", "style", "template", "svg", "noframes", "iframe", "nav"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "main", "option", "p",
    "section", "select", "summary", "caption", "tr", "td", "th", "tbody", "thead", "tfoot", "noscript",
}  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = {"ul", "ol", "menu", "dir"}
_EMPTY = {"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "source", "track", "wbr", "param"}
_KNOWN = _BLOCKS | _SKIPPED | _EMPTY | _LISTS | set(_HEADINGS) | {"a", "b", "i", "em", "li", "span", "strong"}
_MOST_SPAN = 100
_LANGUAGE_CLASS = re.compile(r"(?:language-|lang-|highlight-|sourceCode )([\w+#-]+)")
_NO_LANGUAGE = {"default", "none", "text", "notranslate"}


@dataclass
class Head:
    """What an HTML document says about itself."""

    title: str = ""
    language: str | None = None
    meta: dict[str, str] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """The values that formats have in common."""
        said = self.meta.get
        created = said("dcterms.created") or said("dc.date") or said("article:published_time") or said("date")
        modified = said("dcterms.modified") or said("article:modified_time") or said("last-modified")
        return metadata_of(
            author=said("author") or said("dc.creator") or said("dcterms.creator"),
            created=iso_date(created),
            modified=iso_date(modified),
            keywords=said("keywords"),
            description=said("description") or said("og:description"),
        )


@dataclass
class _Table:
    """A table that is being read. Its cells are kept until it is known whether it is one, or arranges a page."""

    rows: list[list[str]] = field(default_factory=list)
    cell: list[str] | None = None
    span: int = 1
    # Blocks of the page that a cell holds: then the table arranges.
    arranges: bool = False
    # Every block as it came, and whether it stood in a cell.
    held: list[tuple[str, tuple[Any, ...], bool]] = field(default_factory=list)


@dataclass
class _List:
    ordered: bool
    number: int
    # Whether the item has shown its mark: what follows it is a paragraph of the item.
    marked: bool = True


class HtmlReader:
    """Writes what a parser reports to it. lxml calls `start`, `end`, `data`, `comment` and `close`.

    Args:
        out: Where the text goes.
    """

    def __init__(self, out: Markdown) -> None:
        self.head = Head()
        self._out = out
        self._inline: list[str] = []
        self._lists: list[_List] = []
        self._tables: list[_Table] = []
        self._skipping: list[str] = []
        self._heading = 0
        self._code: str | None = None
        self._in_title = False
        self._in_head = False

    def start(self, tag: str, attributes: Any) -> None:
        """An element begins."""
        name = tag if tag in _KNOWN else tag.rpartition("}")[2].lower()
        if self._skipping or self._skips(name, attributes):
            if name not in _EMPTY:
                self._skipping.append(name)
        elif name in ("html", "body"):
            self.head.language = self.head.language or language_of(attributes.get("lang") or attributes.get("xml:lang"))
        elif name in ("head", "title"):
            self._in_head = self._in_head or name == "head"
            self._in_title = name == "title" and not self.head.title
        elif name == "meta":
            self._meta(attributes)
        else:
            self._start_text(name, attributes)

    def end(self, tag: str) -> None:
        """An element ends."""
        name = tag if tag in _KNOWN else tag.rpartition("}")[2].lower()
        if self._skipping:
            if name == self._skipping[-1]:
                self._skipping.pop()
        elif name in ("head", "title"):
            self._in_head = self._in_head and name != "head"
            self._in_title = False
        else:
            self._end_text(name)

    def data(self, text: str) -> None:
        """Text is met."""
        if self._in_title:
            self.head.title += text
        elif not self._skipping and not self._in_head:
            self._inline.append(text if self._code is not None else text.replace("\n", " "))

    def comment(self, text: str) -> None:
        """Comments are no text."""

    def close(self) -> Head:
        """The document ends.

        Returns:
            What it says about itself.
        """
        self._flush()
        return self.head

    @staticmethod
    def _skips(name: str, attributes: Any) -> bool:
        return name in _SKIPPED or attributes.get("role") == "navigation"

    def _meta(self, attributes: Any) -> None:
        name = attributes.get("name") or attributes.get("property") or attributes.get("http-equiv") or ""
        if len(self.head.meta) < 100:
            self.head.meta.setdefault(name.strip().lower(), attributes.get("content") or "")
        if name.lower() == "content-language":
            self.head.language = self.head.language or language_of(attributes.get("content"))

    def _start_text(self, name: str, attributes: Any) -> None:
        if name == "br":
            self._inline.append("\n")
        elif name == "img":
            self._inline.append(f" {attributes.get('alt') or ''} ")
        elif self._code is not None:
            self._code = self._code or _language_in(attributes.get("class") or "")
        elif name in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[name]
        elif name in ("pre", "listing", "xmp"):
            self._flush()
            # docutils names the language of code as if people spoke it.
            classes, lang = attributes.get("class") or "", attributes.get("lang") or ""
            self._code = _language_in(f"language-{lang}" if "literal-block" in classes and lang else classes)
        elif name == "table":
            self._flush()
            self._tables.append(_Table())
        elif self._tables and name in ("tr", "td", "th"):
            self._start_cell(name, attributes)
        elif name in _LISTS or name == "li":
            self._start_item(name, attributes)
        elif name in _BLOCKS:
            self._flush()

    def _end_text(self, name: str) -> None:
        if name in ("pre", "listing", "xmp") and self._code is not None:
            language, self._code = self._code, None
            self._put("code", "".join(self._inline), language)
            self._inline.clear()
        elif self._code is not None:
            return
        elif name in _HEADINGS:
            self._flush()
            self._heading = 0
        elif name == "table" and self._tables:
            self._end_table()
        elif self._tables and name in ("td", "th"):
            self._end_cell()
        elif name in _LISTS:
            self._flush()
            if self._lists:
                self._lists.pop()
        elif name in _BLOCKS or name == "li":
            self._flush()

    def _start_item(self, name: str, attributes: Any) -> None:
        self._flush()
        if name in _LISTS:
            self._lists.append(_List(name == "ol", _number(attributes.get("start"), 1)))
        else:
            if not self._lists:
                self._lists.append(_List(ordered=False, number=1))
            self._lists[-1].marked = False

    def _flush(self) -> None:
        if not self._inline:
            return
        text = "".join(self._inline)
        self._inline.clear()
        if not text.strip():
            return
        if self._heading:
            self._put("heading", self._heading, text)
        elif self._lists and not self._lists[-1].marked:
            at = self._lists[-1]
            at.marked = True
            self._put("item", len(self._lists) - 1, text, at.number if at.ordered else None)
            at.number += 1
        else:
            self._put("paragraph", text)

    def _put(self, kind: str, *values: Any) -> None:
        # Within a table the blocks wait until it is known what the table is.
        if not self._tables:
            getattr(self._out, kind)(*values)
            return
        table = self._tables[-1]
        table.held.append((kind, values, table.cell is not None))
        if kind in ("heading", "code", "table"):
            table.arranges = True
        elif table.cell is not None:
            table.cell.append(str(values[0] if kind == "paragraph" else values[1]))

    def _start_cell(self, name: str, attributes: Any) -> None:
        self._end_cell()
        table = self._tables[-1]
        if name == "tr" or not table.rows:
            table.rows.append([])
        if name != "tr":
            table.cell = []
            table.span = min(_number(attributes.get("colspan"), 1), _MOST_SPAN)

    def _end_cell(self) -> None:
        self._flush()
        table = self._tables[-1]
        if table.cell is not None:
            table.rows[-1] += [" ".join(table.cell)] + [""] * (table.span - 1)
            table.cell = None

    def _end_table(self) -> None:
        self._end_cell()
        table = self._tables.pop()
        width = max((sum(bool(collapsed(cell)) for cell in row) for row in table.rows), default=0)
        # A single column is no table, and one that holds headings, code or tables arranges a page.
        arranges = table.arranges or width < 2
        for kind, values, in_cell in table.held:
            # In a table, what stands in no cell is its caption.
            if arranges or not in_cell:
                self._put(kind, *values)
        if not arranges:
            self._put("table", table.rows)
        elif self._tables:
            self._tables[-1].arranges = True


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else default


def _language_in(classes: str) -> str:
    found = _LANGUAGE_CLASS.search(classes)
    return found[1] if found and found[1] not in _NO_LANGUAGE else ""


def write_html(text: str, out: Markdown) -> Head:
    """Writes an HTML document, or a part of one.

    Args:
        text: The HTML.
        out: Where its text goes.

    Returns:
        What the document says about itself.
    """
    from lxml import etree

    reader = HtmlReader(out)
    if text.strip():
        # libxml2 bounds the depth of trees, and a stream makes none.
        parser = etree.HTMLParser(target=reader, huge_tree=True, no_network=True, encoding="utf-8")
        etree.fromstring(text.encode("utf-8", "replace"), parser)
    return reader.head


def read_html(content: bytes) -> str:
    """Decodes an HTML document by its own declaration, if it has one."""
    return decode(content, declared_in(content))
