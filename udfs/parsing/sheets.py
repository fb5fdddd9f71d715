"""XLSX to Markdown: a sheet is a page, its name a heading, its cells a table."""

import io
from datetime import date, datetime, time, timedelta
from typing import Any

from schemas.reasons import UNPARSABLE
from udfs.parsing.archives import Archive
from udfs.parsing.markdown import Markdown
from udfs.parsing.office import properties_of
from udfs.parsing.parsed import RefusedError


def write_xlsx(content: bytes, archive: Archive, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes the sheets in their order. Of formulas the stored results are read; nothing is computed.

    Args:
        content: The workbook.
        archive: The same, opened.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the workbook declares.
    """
    import python_calamine

    # The library unpacks by itself, and texts alone.
    for name in archive.names:
        if name.endswith((".xml", ".rels")):
            archive.refuse_bomb(name)
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        for sheet in workbook.sheets_metadata:
            if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet:
                out.page()
                out.heading(1, sheet.name)
                _write_sheet(workbook.get_sheet_by_name(sheet.name), out)
    except python_calamine.CalamineError as error:
        raise RefusedError(UNPARSABLE, "the workbook is damaged") from error
    return properties_of(archive)


def _write_sheet(sheet: Any, out: Markdown) -> None:
    rows = ([_shown(value) for value in row] for row in sheet.to_python())
    out.table(rows)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        # Stored as fractions of a day, which hit no second exactly.
        moment = (value + timedelta(milliseconds=500)).replace(microsecond=0)
        return moment.date().isoformat() if moment.time() == time() else moment.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)
