"""A parser of others, in a process of its own: reads paths from standard input and answers with texts as JSON.

Three are whole converters; the others read the words of one kind of document, for the comparison.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def _kreuzberg() -> Callable[[str], str]:
    import kreuzberg

    config = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False)
    return lambda path: str(kreuzberg.extract_file_sync(path, config=config).content)


def _markitdown() -> Callable[[str], str]:
    from markitdown import MarkItDown

    converter = MarkItDown()
    return lambda path: str(converter.convert(path).text_content)


def _docling() -> Callable[[str], str]:
    from docling.document_converter import DocumentConverter

    converter = DocumentConverter()
    return lambda path: str(converter.convert(path).document.export_to_markdown())


def _python_pptx() -> Callable[[str], str]:
    from pptx import Presentation

    def shapes_of(holder: Any) -> Iterator[Any]:
        for shape in holder.shapes:
            yield from shapes_of(shape) if hasattr(shape, "shapes") else [shape]

    def convert(path: str) -> str:
        found = []
        for slide in Presentation(path).slides:
            for shape in [*shapes_of(slide), *(shapes_of(slide.notes_slide) if slide.has_notes_slide else [])]:
                # Numbers and dates that every slide repeats.
                kind = str(shape.placeholder_format.type) if shape.is_placeholder else ""
                if shape.has_text_frame and not any(word in kind for word in ("NUMBER", "DATE", "FOOTER", "HEADER")):
                    found.append(shape.text_frame.text)
                if getattr(shape, "has_table", False):
                    found += [cell.text for row in shape.table.rows for cell in row.cells]
        return "\n".join(found)

    return convert


def _openpyxl() -> Callable[[str], str]:
    import openpyxl

    def convert(path: str) -> str:
        book = openpyxl.load_workbook(path, data_only=True)
        rows = [row for sheet in book.worksheets for row in sheet.iter_rows(values_only=True)]
        return "\n".join(str(value) for row in rows for value in row if isinstance(value, str | int))

    return convert


def _mail_parser() -> Callable[[str], str]:
    import mailparser

    def convert(path: str) -> str:
        mail = mailparser.parse_from_file(path)
        # It takes attached texts and messages for texts of the mail.
        with open(path, "rb") as file:
            attached = re.search(rb"(?i)content-type:\s*(?:message/|multipart/digest)", file.read())
        if mail.attachments or attached:
            return ""
        return "\n".join([mail.subject or "", *(mail.text_plain or [])])

    return convert


def main() -> None:
    """Answers one line for each."""
    converters = {"kreuzberg": _kreuzberg, "markitdown": _markitdown, "docling": _docling}
    converters |= {"python-pptx": _python_pptx, "openpyxl": _openpyxl, "mail-parser": _mail_parser}
    convert = converters[sys.argv[1]]()
    answers, sys.stdout = sys.stdout, sys.stderr
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        try:
            text = convert(json.loads(line))
        except Exception:
            text = None
        print(json.dumps({"text": text, "seconds": time.perf_counter() - start}), file=answers, flush=True)


if __name__ == "__main__":
    main()
