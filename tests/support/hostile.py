"""Documents made to harm whoever parses them, and what has to become of each."""

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from schemas.reasons import BINARY, ENCRYPTED, NO_TEXT_LAYER, TOO_LARGE, UNPARSABLE
from tests.support.documents import ODF, W, archive, cells, docx, epub, odt, paragraph, pdf, pdf_of, xlsx

DEEP = 100_000
WORDS = "Water boils at a hundred degrees, and tea is made of it. "


@dataclass(frozen=True)
class Case:
    """A document of the hostile set.

    Attributes:
        name: What is hostile about it.
        file: Its name.
        make: Makes its content.
        reasons: Reasons that are right; None among them if it may be parsed.
        holds: What its text must hold if it is parsed.
        slow: Whether making or parsing it takes more than a second or two.
    """

    name: str
    file: str
    make: Callable[[], bytes]
    reasons: tuple[str | None, ...]
    holds: str = ""
    slow: bool = False


def bomb(size: int) -> bytes:
    """A Word document whose text unpacks to so many bytes, packed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block, check, packed = b"\0" * 2**20, 0, []
    for _ in range(size // 2**20):
        check = zlib.crc32(block, check)
        packed.append(packer.compress(block))
    data = b"".join([*packed, packer.flush()])
    name, size = b"word/document.xml", size // 2**20 * 2**20
    fixed = struct.pack("<HHHHHIII", 20, 0, 8, 0, 33, check, len(data), size)
    start = b"PK\x03\x04" + fixed + struct.pack("<HH", len(name), 0) + name
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fixed + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(start) + len(data), 0)
    return start + data + entry + end


def understated() -> bytes:
    """A Word document that claims to unpack to fewer bytes than it does."""
    made = bytearray(docx(paragraph(WORDS * 100_000)))
    with zipfile.ZipFile(io.BytesIO(bytes(made))) as file:
        true = file.getinfo("word/document.xml").file_size
    at = made.rindex(struct.pack("<I", true))
    made[at : at + 4] = struct.pack("<I", 1000)
    return bytes(made)


def entity_bomb() -> str:
    """An XML declaration whose entities grow to gigabytes."""
    lines = ['<!ENTITY a0 "lol">']
    lines += [f'<!ENTITY a{at} "{f"&a{at - 1};" * 10}">' for at in range(1, 10)]
    return f"<!DOCTYPE x [{''.join(lines)}]>"


def external(address: str) -> dict[str, bytes]:
    """Documents that refer to something outside, in every way that their kind knows: by name of the file."""
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{address}">]>'
    declared = f'<!DOCTYPE x SYSTEM "{address}">'
    parameter = f'<!DOCTYPE x [<!ENTITY % p SYSTEM "{address}"> %p;]>'
    linked = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1"'
        f' Type="x/attachedTemplate" Target="{address}" TargetMode="External"/><Relationship Id="r2" Type="x/styles"'
        f' Target="{address}"/></Relationships>'
    )
    page = (
        f'<!DOCTYPE html SYSTEM "{address}"><html><head><base href="{address}"><link rel="stylesheet" href="{address}">'
        f'<meta http-equiv="refresh" content="0;url={address}"></head><body><p>kept</p><img src="{address}" alt="">'
        f'<iframe src="{address}"></iframe><object data="{address}"></object></body></html>'
    )
    table = f".. csv-table::\n   :url: {address}\n\n.. csv-table::\n   :file: {address}\n\n"
    rst = f"kept\n\n.. include:: {address}\n\n.. raw:: html\n   :url: {address}\n\n{table}"
    rst += f".. image:: {address}\n   :scale: 50\n"
    mail = (
        "From: a@b.c\nTo: a@b.c\nSubject: kept\nMIME-Version: 1.0\n"
        f'Content-Type: message/external-body; access-type=URL; URL="{address}"\n\nContent-Type: text/plain\n\n'
    )
    link = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    item = f'<draw:frame {ODF} {link}><draw:object xlink:href="{address}"/></draw:frame>'
    actions = f"/OpenAction << /S /URI /URI ({address}) >> /AA << /WC << /S /Launch /F ({address}) >> >>"
    return {
        "entity.docx": docx("<w:p><w:r><w:t>kept &e;</w:t></w:r></w:p>", start=entity),
        "declared.docx": docx(paragraph("kept"), start=declared),
        "parameter.docx": docx(paragraph("kept"), start=parameter),
        "linked.docx": docx(paragraph("kept"), {"word/_rels/document.xml.rels": linked}),
        "page.html": page.encode(),
        "page.xhtml": f'<?xml version="1.0"?>{entity}<html><body><p>kept &e;</p></body></html>'.encode(),
        "table.rst": rst.encode(),
        "mail.eml": mail.encode(),
        "object.odt": odt(f"<text:p>kept{item}</text:p>"),
        "book.epub": epub([f'<p>kept</p><img src="{address}" alt=""/>']),
        "action.pdf": pdf([[(12, 700, "kept")]], catalog=actions),
    }


def _random() -> bytes:
    return random.Random(1).randbytes(100_000)


def _truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _encrypted_pdf() -> bytes:
    key = "<" + "5a" * 32 + ">"
    return pdf_of(
        ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 0 >>"],
        trailer=f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >> /ID [<00> <00>]",
    )


def _encrypted_odt() -> bytes:
    entry = "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    manifest = f"<manifest:manifest {ODF}>{entry}</manifest:manifest>"
    return odt("", more={"META-INF/manifest.xml": manifest, "content.xml": _random()})


def _page_loop() -> bytes:
    return pdf_of(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R 2 0 R 3 0 R] /Count 100000 /Parent 3 0 R >>",
            "<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 100000 /Parent 2 0 R >>",
        ]
    )


def _unmapped() -> bytes:
    inner = (
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity)"
    )
    inner += " /Supplement 0 >> /FontDescriptor << /Type /FontDescriptor /FontName /X /Flags 4 >> >>"
    font = f"<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts [{inner}] >>"
    return pdf([[(12, 700, "\x01\x02\x01\x03\x01\x04\x01\x05\x01\x06")]], font=font)


def _deep_mail(levels: int) -> bytes:
    opened = "".join(f'Content-Type: multipart/mixed; boundary="b{at}"\n\n--b{at}\n' for at in range(levels))
    return f"From: a@b.c\nTo: a@b.c\nSubject: deep\n{opened}Content-Type: text/plain\n\nkept\n".encode()


def _many_parts() -> bytes:
    part = "--b\nContent-Type: text/plain\n\nword\n"
    head = 'From: a@b.c\nTo: a@b.c\nSubject: many\nContent-Type: multipart/mixed; boundary="b"\n\n'
    return f"{head}{part * 10_000}--b--\n".encode()


def _notebook(output: str) -> bytes:
    outputs = [{"output_type": "stream", "text": [output]}]
    made = {"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": "kept = 1", "outputs": outputs}]}
    return json.dumps(made).encode()


def _deep(opening: str, closing: str, text: str = "kept") -> bytes:
    return f"{opening * DEEP}{text}{closing * DEEP}".encode()


CASES = [
    Case("no bytes", "empty.pdf", lambda: b"", (None,)),
    Case("random bytes", "random.docx", _random, (BINARY,)),
    Case("a truncated PDF", "cut.pdf", lambda: _truncated(pdf([[(12, 700, WORDS)]] * 9)), (None, UNPARSABLE), "Water"),
    Case("a truncated DOCX", "cut.docx", lambda: _truncated(docx(paragraph(WORDS))), (UNPARSABLE,)),
    Case("a truncated notebook", "cut.ipynb", lambda: _truncated(_notebook(WORDS * 99)), (None, UNPARSABLE)),
    Case("nothing but a mark", "mark.pdf", lambda: b"%PDF-1.7\n", (UNPARSABLE,)),
    Case("an encrypted PDF", "locked.pdf", _encrypted_pdf, (ENCRYPTED,)),
    Case(
        "an encrypted DOCX", "locked.docx",
        lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"),
        (ENCRYPTED,),
    ),
    Case("an encrypted ODT", "locked.odt", _encrypted_odt, (ENCRYPTED,)),
    Case("a zip bomb of 30 MB", "bomb.docx", lambda: bomb(30 * 2**20), (TOO_LARGE,)),
    Case("a zip bomb as a sheet", "bomb.xlsx", lambda: xlsx({"Sheet": " " * 30 * 2**20}), (TOO_LARGE,)),
    Case("a zip bomb of 1 GB", "bomb.docx", lambda: bomb(2**30), (TOO_LARGE,), slow=True),
    Case("a member larger than it says", "lies.docx", understated, (UNPARSABLE,)),
    Case("zips within zips", "nested.zip",
         lambda: archive({"a.zip": archive({"b.zip": bomb(2**20)})}), (UNPARSABLE,)),
    Case("a zip bomb as a picture", "in.docx",
         lambda: docx(paragraph("kept"), {"word/x.bmp": b"\0" * 30 * 2**20}), (None,), "kept"),
    Case("20,000 members", "many.docx",
         lambda: archive({f"{at}": "" for at in range(20_000)}, 0), (TOO_LARGE,), slow=True),
    Case("an XML entity bomb", "lol.docx", lambda: docx(paragraph("&a9;"), start=entity_bomb()), (UNPARSABLE,)),
    Case("an entity bomb in XHTML", "lol.xhtml",
         lambda: f"{entity_bomb()}<html><p>kept &a9;".encode(), (None,), "kept"),
    Case("pages in a circle", "loop.pdf", _page_loop, (UNPARSABLE, NO_TEXT_LAYER)),
    Case("5,000 pages", "long.pdf", lambda: pdf([[(12, 700, WORDS)]] * 5000), (None,), WORDS.strip(), slow=True),
    Case("fonts without mapping", "unmapped.pdf", _unmapped, (NO_TEXT_LAYER,)),
    Case("arrays 100,000 levels deep in a PDF", "deep.pdf",
         lambda: pdf_of([f"<< /Type /Catalog /Pages 2 0 R /X {'[' * DEEP}{']' * DEEP} >>", "<< /Kids [] >>"]),
         (UNPARSABLE, NO_TEXT_LAYER)),
    Case("HTML of 50 MB", "large.html", lambda: f"<html><p>{WORDS}</p>{f'<p>{WORDS}</p>' * 780_000}".encode(),
         (None,), "Water", slow=True),
    Case("HTML 100,000 levels deep", "deep.html", lambda: b"<html>" + _deep("<div>", "</div>"), (None,), "kept"),
    Case("lists 100,000 levels deep", "deep.html", lambda: b"<html>" + _deep("<ul><li>", ""), (None,), "kept"),
    Case("tables 100,000 levels deep", "deep.html", lambda: b"<html>" + _deep("<table><tr><td>", ""), (None,), "kept",
         slow=True),
    Case("XML 100,000 levels deep", "deep.docx", lambda: docx(_deep("<w:sdt>", "</w:sdt>").decode(), method=0),
         (UNPARSABLE,)),
    Case("JSON 100,000 levels deep", "deep.ipynb", lambda: b'{"nbformat": 4, "cells": ' + _deep("[", "]", ""),
         (UNPARSABLE,)),
    Case("a mail 2,000 levels deep", "deep.eml", lambda: _deep_mail(2000), (None, UNPARSABLE), "kept"),
    Case("quotes 1,000 levels deep", "deep.rst",
         lambda: "\n\n".join("  " * at + "kept" for at in range(1000)).encode(), (None, UNPARSABLE), "kept",
         slow=True),
    Case("a mail of 10,000 parts", "parts.eml", _many_parts, (TOO_LARGE,)),
    Case("a notebook that printed 50 MB", "loud.ipynb", lambda: _notebook(WORDS * 900_000), (None,), "kept = 1",
         slow=True),
    Case("a sheet that declares every cell", "wide.xlsx",
         lambda: xlsx({"Sheet": cells(1, "kept")}, "A1:XFD1048576"), (None,), "kept"),
    Case("a sheet whose corners are filled", "corners.xlsx",
         lambda: xlsx({"Sheet": cells(1, "kept") + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'}),
         (TOO_LARGE, UNPARSABLE), slow=True),
    Case("a page named as a picture", "page.png", lambda: b"<html><body><p>kept</p></body></html>", (None,), "kept"),
    Case("a PDF named as text", "text.txt", lambda: pdf([[(12, 700, "kept")]]), (None,), "kept"),
    Case("a DOCX named as a PDF", "word.pdf", lambda: docx(paragraph("kept")), (None,), "kept"),
    Case("a picture named as a PDF", "picture.pdf", lambda: b"\x89PNG\r\n\x1a\n" + _random(), (UNPARSABLE,)),
    Case("a spanning cell of a billion columns", "span.html",
         lambda: b'<html><table><tr><td colspan="999999999">kept</td><td>b</td></tr></table>', (None,), "kept"),
    Case("a book whose chapters are one chapter", "loop.epub",
         lambda: epub(["<p>kept</p>"], {"META-INF/encryption.xml": f"<encryption {W}/>"}), (None,), "kept"),
]  # fmt: skip
