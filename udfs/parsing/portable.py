"""PDF to Markdown: the text layer, page by page. Pictures are not read."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.reasons import ENCRYPTED, NO_TEXT_LAYER, UNPARSABLE
from udfs.parsing.markdown import Markdown
from udfs.parsing.parsed import RefusedError, iso_date, language_of, metadata_of

# PDFium marks a hyphen that a line break made.
_HYPHEN = re.compile("[\x02\ufffe](?:\r?\n)?")
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_BULLET = re.compile(r"[•◦▪‣●○■∙][ \t]*(?=\S)")
# Larger than the text around it by this much, a line is a heading.
_LARGER = 1.12
_LONGEST_HEADING = 200
# A gap wider than this many heights of a line is between paragraphs.
_GAP = 1.6


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    # Height of its letters and place of its base line on the page, in points; zero where PDFium does not know.
    size: float
    base: float
    # How many of its first and its last letter the font does not map to a character.
    unmapped: int


def write_pdf(content: bytes, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes the text of each page; lines in larger type become headings.

    Args:
        content: The document.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the document declares.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        codes = (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY)
        # The code may be that of an earlier document.
        if error.err_code in codes and b"/Encrypt" in content:
            raise RefusedError(ENCRYPTED, "the document is protected by a password") from error
        raise RefusedError(UNPARSABLE, "the PDF is damaged or cut off") from error
    try:
        return _write_document(document, out)
    finally:
        document.close()


def _write_document(document: Any, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    pages = [list(_lines_of(document, number)) for number in range(len(document))]
    _refuse_without_text(pages)
    levels = _levels(pages)
    for lines in pages:
        out.page()
        _write_page(lines, levels, out)
    said = document.get_metadata_dict()
    metadata = metadata_of(
        author=said.get("Author"),
        created=iso_date(said.get("CreationDate")),
        modified=iso_date(said.get("ModDate")),
        subject=said.get("Subject"),
        keywords=said.get("Keywords"),
    )
    return " ".join((said.get("Title") or "").replace("\0", "").split()) or None, _language(document), metadata


def _lines_of(document: Any, number: int) -> Iterator[_Line]:
    import pypdfium2

    try:
        page = document[number]
        letters = page.get_textpage()
    except pypdfium2.PdfiumError:
        # A damaged page costs its own text.
        return
    text = letters.get_text_range()
    at = 0
    for raw in re.split("\r\n", text):
        # PDFium counts in UTF-16, and leaves out of the text some characters that it counts.
        units = len(raw.encode("utf-16-le", "surrogatepass")) // 2
        shown = raw.strip()
        if shown:
            first = at + len(raw) - len(raw.lstrip())
            size, base, unmapped = _measures(letters, first)
            last, _, unmapped_too = _measures(letters, at + units - 1 - (len(raw) - len(raw.rstrip())))
            yield _Line(shown, min(size, last or size), base, unmapped + unmapped_too)
        at += units + 2
    letters.close()
    page.close()


def _measures(letters: Any, place: int) -> tuple[float, float, bool]:
    import ctypes

    from pypdfium2 import raw

    index = raw.FPDFText_GetCharIndexFromTextIndex(letters, place)
    if index < 0:
        return 0.0, 0.0, False
    matrix, across, up = raw.FS_MATRIX(), ctypes.c_double(), ctypes.c_double()
    # Many writers keep the font at one point, and scale the page instead.
    scale = math.hypot(matrix.c, matrix.d) if raw.FPDFText_GetMatrix(letters, index, matrix) else 1.0
    raw.FPDFText_GetCharOrigin(letters, index, across, up)
    # Without a mapping PDFium gives the code in the font, which is the letter in ASCII at most.
    unmapped = raw.FPDFText_HasUnicodeMapError(letters, index) == 1 and raw.FPDFText_GetUnicode(letters, index) > 0x7F
    return round(raw.FPDFText_GetFontSize(letters, index) * scale, 1), up.value, unmapped


def _refuse_without_text(pages: list[list[_Line]]) -> None:
    lines = [line for page in pages for line in page]
    if not lines:
        raise RefusedError(NO_TEXT_LAYER, f"none of its {len(pages)} pages has text")
    if sum(line.unmapped for line in lines) > len(lines):
        raise RefusedError(NO_TEXT_LAYER, "its fonts do not say which characters they draw")


def _levels(pages: list[list[_Line]]) -> dict[float, int]:
    """The sizes that make headings, with their level."""
    sizes: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0]
    larger = sorted((size for size in sizes if body and size >= body * _LARGER), reverse=True)
    # Sizes that differ by a hair are one.
    levels: dict[float, int] = {}
    level, last = 0, math.inf
    for size in larger:
        level += size < last * 0.97
        levels[size] = min(level, 6)
        last = size
    # Where most text is larger than some of it, nothing is a heading by its size.
    large = sum(sizes[size] for size in larger)
    return levels if large <= sum(sizes.values()) * 0.3 else {}


def _write_page(lines: list[_Line], levels: dict[float, int], out: Markdown) -> None:
    held: list[_Line] = []
    for line in lines:
        if held and _parts(held[-1], line, levels):
            _write_block(held, levels, out)
            held = []
        held.append(line)
    if held:
        _write_block(held, levels, out)


def _parts(before: _Line, line: _Line, levels: dict[float, int]) -> bool:
    """Whether a line begins a block."""
    if _BULLET.match(line.text) or levels.get(before.size) != levels.get(line.size):
        return True
    height = max(before.size, line.size)
    drop = before.base - line.base
    # Upwards: the next column.
    return bool(height) and (drop > _GAP * height or drop < -0.5 * height)


def _write_block(lines: list[_Line], levels: dict[float, int], out: Markdown) -> None:
    text = _HYPHEN.sub("", "\n".join(line.text for line in lines)).translate(_LIGATURES)
    level = levels.get(lines[0].size)
    bullet = _BULLET.match(text)
    if bullet and text[bullet.end() :].strip():
        out.item(0, text[bullet.end() :])
    elif level and len(text) <= _LONGEST_HEADING and any(letter.isalpha() for letter in text):
        out.heading(level, text)
    else:
        out.paragraph(text)


def _language(document: Any) -> str | None:
    import ctypes

    from pypdfium2 import raw

    size = raw.FPDFCatalog_GetLanguage(document, None, 0)
    if not 0 < size <= 200:
        return None
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFCatalog_GetLanguage(document, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return language_of(buffer.raw[:size].decode("utf-16-le", "ignore").rstrip("\0"))
