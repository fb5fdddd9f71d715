"""Write the documents of the second quick start: a small handbook, a file of every type that embedlake parses.

The texts are in `quickstart/handbook`. Files of text are copied. For the other types a text is kept as Markdown, in
`<name>.<type>.md`, and turned into that type by a library that others write such files with.

A document has the same bytes each time, because the times inside it are fixed. One that exists already is not written
again: its time stays, so the next run of `embedlake embed` does not read it.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

TEXTS = Path(__file__).resolve().parent / "handbook"
AUTHOR = "Skarholm Lighthouse Society"
WRITTEN = datetime(2024, 4, 1, 12, tzinfo=UTC)
TITLE, SECTION = 1, 2


class Block(NamedTuple):
    """A part of a text.

    Attributes:
        kind: `heading`, `text`, `list`, `table` or `page`, which begins a new page.
        level: Of a heading, from 1.
        text: Of a heading or a paragraph.
        rows: Cells of a table, its header first. Items of a list, one in each row.
    """

    kind: str
    level: int = 0
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


def blocks_of(markdown: str) -> list[Block]:
    """Reads the little Markdown that the texts are written in; blank lines stand between its blocks."""
    blocks = []
    for part in markdown.strip().split("\n\n"):
        lines = part.split("\n")
        heading = re.fullmatch(r"(#+) (.+)", part)
        if heading:
            blocks.append(Block("heading", len(heading[1]), heading[2]))
        elif part == "---":
            blocks.append(Block("page"))
        elif part.startswith("| "):
            rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
            blocks.append(Block("table", rows=(rows[0], *rows[2:])))
        elif part.startswith("- "):
            items = re.split(r"\n(?=- )", part)
            blocks.append(Block("list", rows=tuple((" ".join(item[2:].split()),) for item in items)))
        else:
            blocks.append(Block("text", text=" ".join(lines)))
    return blocks


def title_of(blocks: list[Block]) -> str:
    """The heading of level 1, with which each text begins."""
    return blocks[0].text


def sections_of(blocks: list[Block]) -> Iterator[tuple[str, list[Block]]]:
    """Yields the heading and the blocks of each slide, sheet or chapter: what a heading of level 2 begins."""
    heading = ""
    for is_heading, group in groupby(blocks, lambda block: (block.kind, block.level) == ("heading", SECTION)):
        if is_heading:
            heading = next(group).text
        elif heading:
            yield heading, list(group)


def saved(save: Callable[[io.BytesIO], None]) -> bytes:
    """What a library writes to a file."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def unknown(block: Block, kind: str) -> ValueError:
    """The error of a writer that has no form for a block; a text must not lose a part unnoticed."""
    return ValueError(f"{kind} has no form for a {block.kind}")


def write_pdf(blocks: list[Block]) -> bytes:
    """Writes a PDF with one font, in which headings are larger, and with the pages that the text asks for."""
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_title(title_of(blocks))
    pdf.set_author(AUTHOR)
    pdf.set_lang("en")
    pdf.set_creation_date(WRITTEN)
    pdf.add_page()
    for block in blocks:
        if block.kind == "page":
            pdf.add_page()
            continue
        if block.kind not in ("heading", "text"):
            raise unknown(block, "the PDF")
        size = {TITLE: 22, SECTION: 15}[block.level] if block.kind == "heading" else 11
        pdf.set_font("Helvetica", size=size)
        pdf.multi_cell(0, size * 0.45, block.text, align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.ln(4)
    return bytes(pdf.output())


def write_docx(blocks: list[Block]) -> bytes:
    """Writes a Word document with Word's own styles of headings, lists and tables."""
    from docx import Document

    document = Document()
    said = document.core_properties
    said.title, said.author, said.language, said.comments = title_of(blocks), AUTHOR, "en", ""
    said.created = said.modified = WRITTEN
    for block in blocks:
        if block.kind == "heading":
            document.add_heading(block.text, block.level)
        elif block.kind == "text":
            document.add_paragraph(block.text)
        elif block.kind == "table":
            table = document.add_table(0, len(block.rows[0]), style="Table Grid")
            for row in block.rows:
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    cell.text = text
        else:
            raise unknown(block, "the Word document")
    return saved(document.save)


def write_pptx(blocks: list[Block]) -> bytes:
    """Writes a presentation: a slide for each section, with its list, and its paragraphs as notes."""
    from pptx import Presentation

    deck = Presentation()
    said = deck.core_properties
    said.title, said.author, said.language, said.comments = title_of(blocks), AUTHOR, "en", ""
    said.created = said.modified = WRITTEN
    first = deck.slides.add_slide(deck.slide_layouts[0])
    first.shapes.title.text, first.placeholders[1].text = title_of(blocks), blocks[1].text
    for heading, section in sections_of(blocks):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = heading
        for block in section:
            if block.kind == "list":
                slide.placeholders[1].text = "\n".join(item for (item,) in block.rows)
            elif block.kind == "text":
                slide.notes_slide.notes_text_frame.text = block.text
            else:
                raise unknown(block, "the presentation")
    return saved(deck.save)


def write_xlsx(blocks: list[Block]) -> bytes:
    """Writes a workbook: a sheet for each section, with its table; numbers are cells of numbers."""
    from xlsxwriter import Workbook

    buffer = io.BytesIO()
    with Workbook(buffer, {"in_memory": True, "strings_to_numbers": True}) as book:
        book.set_properties({"title": title_of(blocks), "author": AUTHOR, "created": WRITTEN.replace(tzinfo=None)})
        bold = book.add_format({"bold": True})
        for heading, section in sections_of(blocks):
            sheet = book.add_worksheet(heading)
            sheet.set_column(0, 5, 26)
            for block in section:
                if block.kind != "table":
                    raise unknown(block, "the workbook")
                for number, row in enumerate(block.rows):
                    sheet.write_row(number, 0, row, bold if number == 0 else None)
    return buffer.getvalue()


def write_odt(blocks: list[Block]) -> bytes:
    """Writes an OpenDocument text."""
    from odfdo import Document, Header, Paragraph, Row, Table

    document = Document("text")
    document.body.clear()
    document.meta.title, document.meta.language = title_of(blocks), "en"
    document.meta.initial_creator = document.meta.creator = AUTHOR
    document.meta.creation_date = document.meta.date = WRITTEN
    for block in blocks:
        if block.kind == "heading":
            document.body.append(Header(block.level, block.text))
        elif block.kind == "text":
            document.body.append(Paragraph(block.text))
        elif block.kind == "table":
            table = Table("Table")
            for cells in block.rows:
                row = Row()
                row.set_values(list(cells))
                table.append_row(row)
            document.body.append(table)
        else:
            raise unknown(block, "the OpenDocument text")
    return saved(document.save)


def write_epub(blocks: list[Block]) -> bytes:
    """Writes a book with a chapter for each section."""
    from mkepub import Book

    book = Book(title_of(blocks), author=AUTHOR, lang="en", published=f"{WRITTEN:%F}")
    book.uuid = uuid5(NAMESPACE_URL, title_of(blocks))
    book.add_page(title_of(blocks), f"<h1>{escape(title_of(blocks))}</h1>")
    for heading, section in sections_of(blocks):
        for block in section:
            if block.kind != "text":
                raise unknown(block, "the book")
        body = "".join(f"<p>{escape(block.text)}</p>" for block in section)
        book.add_page(heading, f"<h2>{escape(heading)}</h2>{body}")
    # It writes to a path alone.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "book.epub")
        book.save(path)
        return path.read_bytes()


def same_each_time(archive: bytes) -> bytes:
    """Packs an archive again without anything that says when it was written: order, times of members, one line."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as packed, zipfile.ZipFile(buffer, "w") as repacked:
        # Readers look for the member `mimetype` at the beginning, uncompressed.
        for name in sorted(packed.namelist(), key=lambda name: (name != "mimetype", name)):
            content = packed.read(name)
            if name.endswith(".opf"):
                content = re.sub(rb'(?<=modified">)[^<]+', f"{WRITTEN:%FT%TZ}".encode(), content)
            # Without a time of its own a member has the first that an archive knows, 1 January 1980.
            method = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            repacked.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[list[Block]], bytes]] = {
    ".pdf": write_pdf,
    ".docx": write_docx,
    ".pptx": write_pptx,
    ".xlsx": write_xlsx,
    ".odt": write_odt,
    ".epub": write_epub,
}
# Texts are kept in UTF-8 here. Many that people have are not.
ENCODINGS = {".txt": "windows-1252"}


def document_of(source: Path) -> tuple[str, bytes]:
    """Makes the document of a text.

    Args:
        source: A file of `quickstart/handbook`.

    Returns:
        The document's name and its bytes.
    """
    text = source.read_text(encoding="utf-8")
    kind = Path(source.stem).suffix
    if not kind:
        return source.name, text.encode(ENCODINGS.get(source.suffix, "utf-8"))
    content = WRITERS[kind](blocks_of(text))
    return source.stem, same_each_time(content) if zipfile.is_zipfile(io.BytesIO(content)) else content


def write(content: bytes, path: Path) -> bool:
    """Writes a file, which appears complete or not at all; returns whether it was another one before, or none."""
    if path.is_file() and path.read_bytes() == content:
        return False
    # Names that begin with a dot are no documents.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Writes the documents and prints one line; returns the exit code: 0, or 2 if they could not be written."""
    parser = argparse.ArgumentParser(description="Write a small handbook, a file of every type that embedlake parses.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    out: Path = parser.parse_args(arguments).out
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = [write(content, out / name) for name, content in map(document_of, sorted(TEXTS.iterdir()))]
    except OSError as error:
        print(f"write_documents: cannot write to {out}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{out}: {len(written)} documents, {sum(written)} written, {len(written) - sum(written)} unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
