"""DOCX to Markdown."""

import re
from dataclasses import dataclass, field
from typing import Any

from udfs.parsing.archives import Archive, attribute, local
from udfs.parsing.content_type import main_part
from udfs.parsing.markdown import Markdown
from udfs.parsing.office import children, properties_of, relations_of
from udfs.parsing.parsed import language_of

# Deleted text, codes of fields, phonetic guides, and what marks a comment.
_SKIPPED = {"del", "moveFrom", "instrText", "delText", "rt", "pPr", "rPr", "sectPr", "tblPr", "trPr", "tcPr"}
_BREAKS = {"tab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": " "}
_NOTES = {"footnoteReference": "footnote", "endnoteReference": "endnote"}
_MOST_SPAN = 100


@dataclass
class _Styles:
    """What styles and numberings say of paragraphs."""

    levels: dict[str, int] = field(default_factory=dict)
    # Style to the number of its list and the depth in it.
    lists: dict[str, tuple[str, int]] = field(default_factory=dict)
    code: set[str] = field(default_factory=set)
    # List and depth to whether it counts.
    ordered: dict[tuple[str, int], bool] = field(default_factory=dict)
    language: str | None = None


class _Reader:
    def __init__(self, out: Markdown, styles: _Styles) -> None:
        self._out = out
        self._styles = styles
        self._counts: dict[tuple[str, int], int] = {}
        self._code: list[str] = []
        # Text boxes stand in a paragraph, and are written after it.
        self._boxes: list[Any] = []
        self.notes: list[tuple[str, str]] = []

    def blocks(self, parent: Any) -> None:
        for child in children(parent):
            name = local(child)
            if name != "p":
                self._end_code()
            if name == "p":
                self._paragraph(child)
            elif name == "tbl":
                self._table(child)
            elif name not in _SKIPPED:
                self.blocks(child)
        self._end_code()

    def _paragraph(self, element: Any) -> None:
        text = self._text(element)
        style, level, listed = self._kind(element)
        if style in self._styles.code:
            self._code.append(text)
            return
        self._end_code()
        if level and text.strip():
            self._out.heading(level, text)
        elif listed and text.strip():
            self._item(text, *listed)
        else:
            self._out.paragraph(text)
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.blocks(box)

    def _kind(self, element: Any) -> tuple[str, int, tuple[str, int] | None]:
        properties = _child(element, "pPr")
        style = _value(properties, "pStyle") or ""
        outline = _value(properties, "outlineLvl")
        level = int(outline) + 1 if outline and outline.isdigit() else self._styles.levels.get(style, 0)
        numbering = _child(properties, "numPr")
        listed = self._styles.lists.get(style)
        if numbering is not None:
            number = _value(numbering, "numId") or (listed[0] if listed else "0")
            depth = _value(numbering, "ilvl") or "0"
            listed = None if number == "0" else (number, int(depth) if depth.isdigit() else 0)
        return style, level if level <= 9 else 0, listed

    def _item(self, text: str, number: str, depth: int) -> None:
        count = None
        if self._styles.ordered.get((number, depth), False):
            count = self._counts[number, depth] = self._counts.get((number, depth), 0) + 1
        for deeper in [at for at in self._counts if at[0] == number and at[1] > depth]:
            del self._counts[deeper]
        self._out.item(depth, text, count)

    def _text(self, element: Any) -> str:
        parts: list[str] = []
        self._collect(element, parts)
        return "".join(parts)

    def _collect(self, element: Any, parts: list[str]) -> None:
        for child in children(element):
            name = local(child)
            if name == "t":
                parts.append(child.text or "")
            elif name in _BREAKS:
                parts.append(_BREAKS[name])
            elif name in _NOTES:
                parts.append(self._note(_NOTES[name], attribute(child, "id") or ""))
            elif name == "txbxContent":
                self._boxes.append(child)
            elif name == "docPr":
                parts.append(f" {child.get('descr') or ''} " if child.get("descr") else "")
            elif name == "oMath" or name not in _SKIPPED:
                self._collect(child, parts)

    def _note(self, kind: str, number: str) -> str:
        self.notes.append((kind, number))
        return f" [{len(self.notes)}]"

    def _table(self, element: Any) -> None:
        rows = [self._row(row) for row in _rows(element)]
        if max((len(row) for row in rows), default=0) > 1:
            self._out.table(rows)
        else:
            for row in rows:
                self._out.paragraph("".join(row))
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.blocks(box)

    def _row(self, row: Any) -> list[str]:
        cells = []
        for cell in _cells(row):
            span = _value(_child(cell, "tcPr"), "gridSpan") or "1"
            cells.append(" ".join(self._text(one) for one in cell.iter() if local(one) == "p"))
            cells += [""] * (min(int(span) if span.isdigit() else 1, _MOST_SPAN) - 1)
        return cells

    def _end_code(self) -> None:
        lines, self._code = self._code, []
        self._out.code("\n".join(lines))


def _rows(table: Any) -> Any:
    for child in children(table):
        if local(child) == "tr":
            yield child
        elif local(child) in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _rows(child)


def _cells(row: Any) -> Any:
    for child in children(row):
        if local(child) == "tc":
            yield child
        elif local(child) in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _cells(child)


def _child(element: Any | None, name: str) -> Any | None:
    return None if element is None else next((one for one in element if local(one) == name), None)


def _value(element: Any | None, name: str) -> str | None:
    found = _child(element, name)
    return None if found is None else attribute(found, "val")


def _styles_of(archive: Archive, parts: dict[str, str]) -> _Styles:
    styles = _Styles()
    root = archive.xml_if_there(parts.get("styles", ""))
    for style in [] if root is None else root:
        if local(style) == "docDefaults":
            languages = [attribute(one, "val") for one in style.iter() if local(one) == "lang"]
            styles.language = language_of(languages[0]) if languages else None
        elif local(style) == "style":
            _note_style(styles, style)
    numbering = archive.xml_if_there(parts.get("numbering", ""))
    if numbering is not None:
        _note_numberings(styles, numbering)
    return styles


def _note_style(styles: _Styles, style: Any) -> None:
    identity, based = attribute(style, "styleId") or "", _value(style, "basedOn") or ""
    name = (_value(style, "name") or "").lower()
    properties = _child(style, "pPr")
    outline = _value(properties, "outlineLvl")
    heading = re.fullmatch(r"heading (\d)", name)
    if heading or name == "title":
        styles.levels[identity] = int(heading[1]) if heading else 1
    elif outline and outline.isdigit() and int(outline) < 9:
        styles.levels[identity] = int(outline) + 1
    elif based in styles.levels and outline is None:
        styles.levels[identity] = styles.levels[based]
    numbering = _child(properties, "numPr")
    number = _value(numbering, "numId")
    depth = _value(numbering, "ilvl") or "0"
    if number and number != "0":
        styles.lists[identity] = (number, int(depth) if depth.isdigit() else 0)
    elif name.startswith("list bullet") or name.startswith("list number"):
        styles.lists[identity] = (name, 0)
        styles.ordered[name, 0] = name.startswith("list number")
    if name in ("html preformatted", "source code", "preformatted text", "plain text", "code", "macro text"):
        styles.code.add(identity)


def _note_numberings(styles: _Styles, root: Any) -> None:
    abstract: dict[str, dict[int, bool]] = {}
    for one in root:
        if local(one) == "abstractNum":
            depths = {attribute(level, "ilvl") or "": _value(level, "numFmt") for level in one if local(level) == "lvl"}
            kinds = {int(at): kind not in ("bullet", "none", None) for at, kind in depths.items() if at.isdigit()}
            abstract[attribute(one, "abstractNumId") or ""] = kinds
        elif local(one) == "num":
            number = attribute(one, "numId") or ""
            for depth, ordered in abstract.get(_value(one, "abstractNumId") or "", {}).items():
                styles.ordered[number, depth] = ordered


def write_docx(archive: Archive, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes a DOCX document: its body, then foot- and endnotes. Headers, footers and comments are left out.

    Args:
        archive: The package.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the document declares.
    """
    main = main_part(archive) or "word/document.xml"
    parts = dict(relations_of(archive, main).values())
    styles = _styles_of(archive, parts)
    reader = _Reader(out, styles)
    reader.blocks(archive.xml(main))
    _write_notes(archive, parts, reader, out)
    title, language, metadata = properties_of(archive)
    return title, language or styles.language, metadata


def _write_notes(archive: Archive, parts: dict[str, str], reader: _Reader, out: Markdown) -> None:
    texts: dict[tuple[str, str], str] = {}
    for kind in ("footnote", "endnote"):
        root = archive.xml_if_there(parts.get(f"{kind}s", ""))
        for note in [] if root is None else root:
            texts[kind, attribute(note, "id") or ""] = " ".join(t.text or "" for t in note.iter() if local(t) == "t")
    for place, key in enumerate(reader.notes, 1):
        if texts.get(key, "").strip():
            out.paragraph(f"[{place}] {texts[key]}")
