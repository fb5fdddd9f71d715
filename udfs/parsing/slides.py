"""PPTX to Markdown: a slide is a page, its title a heading."""

from typing import Any

from udfs.parsing.archives import Archive, attribute, local
from udfs.parsing.content_type import main_part
from udfs.parsing.markdown import Markdown
from udfs.parsing.office import children, properties_of, relations_of

_TITLES = {"title", "ctrTitle"}
# What every slide repeats.
_REPEATED = {"dt", "ftr", "sldNum", "hdr", "sldImg"}


def write_pptx(archive: Archive, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes the slides in their order, each with its notes.

    Args:
        archive: The package.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the presentation declares.
    """
    main = main_part(archive) or "ppt/presentation.xml"
    relations = relations_of(archive, main)
    for one in archive.xml(main).iter():
        if local(one) == "sldId":
            # Its own id has the same name in no namespace.
            key = next((value for name, value in one.items() if name.endswith("}id")), "")
            if key in relations:
                out.page()
                _write_slide(archive, relations[key][1], out)
    return properties_of(archive)


def _write_slide(archive: Archive, part: str, out: Markdown) -> None:
    root = archive.xml_if_there(part)
    if root is None:
        return
    _write_shapes(root, out)
    for kind, other in relations_of(archive, part).values():
        notes = archive.xml_if_there(other) if kind in ("notesSlide", "diagramData") else None
        if notes is not None and kind == "notesSlide":
            _write_shapes(notes, out)
        elif notes is not None:
            for paragraph in (one for one in notes.iter() if local(one) == "p"):
                out.paragraph(_text(paragraph))


def _write_shapes(parent: Any, out: Markdown) -> None:
    for child in children(parent):
        name = local(child)
        if name == "sp":
            _write_shape(child, out)
        elif name == "tbl":
            rows = [row for row in child if local(row) == "tr"]
            out.table([[_all_text(cell) for cell in row if local(cell) == "tc"] for row in rows])
        elif name == "cNvPr":
            out.paragraph(child.get("descr") or "")
        else:
            _write_shapes(child, out)


def _write_shape(shape: Any, out: Markdown) -> None:
    holder = next((one for one in shape.iter() if local(one) == "ph"), None)
    kind = None if holder is None else holder.get("type") or "body"
    if kind in _REPEATED:
        return
    if kind in _TITLES:
        out.heading(1, _all_text(shape))
        return
    for paragraph in (one for one in shape.iter() if local(one) == "p"):
        if kind == "body" or _has_bullet(paragraph):
            properties = next((one for one in paragraph if local(one) == "pPr"), None)
            depth = "0" if properties is None else properties.get("lvl") or "0"
            out.item(int(depth) if depth.isdigit() else 0, _text(paragraph))
        else:
            out.paragraph(_text(paragraph))


def _has_bullet(paragraph: Any) -> bool:
    return any(local(one) in ("buChar", "buAutoNum") for one in paragraph.iter())


def _all_text(element: Any) -> str:
    return " ".join(_text(one) for one in element.iter() if local(one) == "p")


def _text(paragraph: Any) -> str:
    parts = []
    for one in paragraph.iter():
        name = local(one)
        if name == "t":
            parts.append(one.text or "")
        elif name == "br" or (name == "tab" and attribute(one, "pos") is None):
            parts.append("\n")
    return "".join(parts)
