"""ODT to Markdown."""

from typing import Any

from schemas.reasons import ENCRYPTED
from udfs.parsing.archives import Archive, attribute, local
from udfs.parsing.markdown import Markdown
from udfs.parsing.parsed import RefusedError, iso_date, language_of, metadata_of

# Deleted text, comments, definitions of sequences and forms.
_SKIPPED = {"tracked-changes", "annotation", "annotation-end", "sequence-decls", "forms", "scripts", "ruby-text"}
_BREAKS = {"tab": " ", "line-break": "\n"}
_MOST_REPEATED = 100
_CODE_STYLES = ("Preformatted", "Source_20_Text", "Source_20_Code")


class _Reader:
    def __init__(self, out: Markdown, parents: dict[str, str], ordered: dict[tuple[str, int], bool]) -> None:
        self._out = out
        self._parents = parents
        self._ordered = ordered
        self._code: list[str] = []
        self._notes: list[str] = []
        self._frames: list[Any] = []

    def blocks(self, parent: Any) -> None:
        for child in parent:
            name = local(child)
            if name == "p" and self._is_code(child):
                self._code.append(self._text(child))
                continue
            self._end_code()
            if name == "p":
                self._out.paragraph(self._text(child))
            elif name == "h":
                level = attribute(child, "outline-level") or "1"
                self._out.heading(int(level) if level.isdigit() else 1, self._text(child))
            elif name == "list":
                self._list(child, 0, attribute(child, "style-name") or "")
            elif name == "table":
                self._out.table([self._row(row) for row in child.iter() if local(row) == "table-row"])
            elif name not in _SKIPPED:
                self.blocks(child)
            self._end_frames()
        self._end_code()

    def end_notes(self) -> None:
        for place, note in enumerate(self._notes, 1):
            self._out.paragraph(f"[{place}] {note}")

    def _is_code(self, element: Any) -> bool:
        style = attribute(element, "style-name") or ""
        return any(name.startswith(_CODE_STYLES) for name in (style, self._parents.get(style, "")))

    def _list(self, element: Any, depth: int, style: str) -> None:
        number = 0
        for item in element:
            shown = False
            for child in item:
                name = local(child)
                if name == "list":
                    self._list(child, depth + 1, attribute(child, "style-name") or style)
                elif name == "h":
                    # Numbered headings stand in lists.
                    self.blocks(item)
                    break
                elif not shown and local(item) == "list-item":
                    shown, number = True, number + 1
                    ordered = self._ordered.get((style, depth + 1), False)
                    self._out.item(depth, self._text(child), number if ordered else None)
                else:
                    self._out.paragraph(self._text(child))
                self._end_frames()

    def _row(self, row: Any) -> list[str]:
        cells: list[str] = []
        for cell in row:
            if local(cell) in ("table-cell", "covered-table-cell"):
                repeated = attribute(cell, "number-columns-repeated") or "1"
                times = min(int(repeated) if repeated.isdigit() else 1, _MOST_REPEATED)
                text = " ".join(self._text(one) for one in cell.iter() if local(one) in ("p", "h"))
                cells += [text] * times
        return cells

    def _text(self, element: Any) -> str:
        parts: list[str] = [element.text or ""]
        for child in element:
            self._collect(child, parts)
            parts.append(child.tail or "")
        return "".join(parts)

    def _collect(self, child: Any, parts: list[str]) -> None:
        name = local(child)
        if name == "s":
            count = attribute(child, "c") or "1"
            parts.append(" " * min(int(count) if count.isdigit() else 1, 1000))
        elif name in _BREAKS:
            parts.append(_BREAKS[name])
        elif name == "note":
            bodies = [one for one in child if local(one) == "note-body"]
            self._notes += [" ".join(self._text(one) for one in body.iter() if local(one) == "p") for body in bodies]
            parts.append(f" [{len(self._notes)}]")
        elif name == "frame":
            self._frames.append(child)
        elif name not in _SKIPPED:
            parts.append(self._text(child))

    def _end_frames(self) -> None:
        frames, self._frames = self._frames, []
        for frame in frames:
            for one in frame:
                if local(one) in ("title", "desc"):
                    self._out.paragraph(one.text or "")
                elif local(one) == "text-box":
                    self.blocks(one)

    def _end_code(self) -> None:
        lines, self._code = self._code, []
        self._out.code("\n".join(lines))


def write_odt(archive: Archive, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes an ODT document: its body, then its notes. Headers, footers and comments are left out.

    Args:
        archive: The package.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the document declares.
    """
    manifest = archive.xml_if_there("META-INF/manifest.xml")
    if manifest is not None and any(local(one) == "encryption-data" for one in manifest.iter()):
        raise RefusedError(ENCRYPTED, "the document is protected by a password")
    root, styles = archive.xml("content.xml"), archive.xml_if_there("styles.xml")
    roots = [one for one in (root, styles) if one is not None]
    reader = _Reader(out, _parents_of(roots), _ordered_lists(roots))
    for body in (one for one in root if local(one) == "body"):
        reader.blocks(body)
    reader.end_notes()
    return _declared(archive, styles)


def _parents_of(roots: list[Any]) -> dict[str, str]:
    styles = [one for root in roots for one in root.iter() if local(one) == "style"]
    return {attribute(one, "name") or "": attribute(one, "parent-style-name") or "" for one in styles}


def _ordered_lists(roots: list[Any]) -> dict[tuple[str, int], bool]:
    found = {}
    for style in (one for root in roots for one in root.iter() if local(one) == "list-style"):
        for level in style:
            depth = attribute(level, "level") or ""
            if depth.isdigit():
                counts = local(level) == "list-level-style-number" and bool(attribute(level, "num-format"))
                found[attribute(style, "name") or "", int(depth)] = counts
    return found


def _declared(archive: Archive, styles: Any | None) -> tuple[str | None, str | None, dict[str, str]]:
    root = archive.xml_if_there("meta.xml")
    said: dict[str, str] = {}
    for one in [] if root is None else root.iter():
        said.setdefault(local(one), one.text or "")
    metadata = metadata_of(
        author=said.get("initial-creator") or said.get("creator"),
        created=iso_date(said.get("creation-date")),
        modified=iso_date(said.get("date")),
        subject=said.get("subject"),
        keywords=said.get("keyword"),
        description=said.get("description"),
    )
    language = language_of(said.get("language")) or _style_language(styles)
    return " ".join((said.get("title") or "").split()) or None, language, metadata


def _style_language(styles: Any | None) -> str | None:
    for one in [] if styles is None else styles.iter():
        if local(one) == "default-style" and attribute(one, "family") == "paragraph":
            for properties in one:
                language, country = attribute(properties, "language"), attribute(properties, "country")
                if language and language != "none":
                    return language_of(f"{language}-{country}" if country and country != "none" else language)
    return None
