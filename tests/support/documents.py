"""Small documents of every kind, written by hand: no library that parses has a part in them."""

import io
import zipfile
from collections.abc import Mapping, Sequence

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
P = f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="{RELATIONS}"'
S = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{RELATIONS}"'
ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for name in ("office", "text", "table", "style", "meta", "manifest")
) + (
    ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:fo="urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0"'
    ' xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"'
)
CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
    "<dc:title>Annual  report</dc:title><dc:creator>Ann Example</dc:creator><dc:language>de-DE</dc:language>"
    "<dcterms:created>2024-05-06T07:08:09Z</dcterms:created></cp:coreProperties>"
)
# Where a slide's or a page's lines stand: size of the letters, distance from the bottom, text.
Line = tuple[float, float, str]


def archive(members: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive, its members in the order given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def relations(**targets: tuple[str, str]) -> str:
    """A part's relations: by id, the last word of the type and the target."""
    entries = "".join(
        f'<Relationship Id="{key}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for key, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{PACKAGE}">{entries}</Relationships>'


def docx(body: str, more: Mapping[str, str | bytes] | None = None, start: str = "", method: int = 8) -> bytes:
    """A Word document of a body's XML; `more` has further members, `start` what stands before the root."""
    parts = {"styles": "styles.xml", "numbering": "numbering.xml", "footnotes": "footnotes.xml"}
    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": relations(r1=("officeDocument", "word/document.xml")),
            "word/document.xml": f"{start}<w:document {W}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relations(**{key: (key, target) for key, target in parts.items()}),
        }
        | dict(more or {}),
        method,
    )


def paragraph(text: str, style: str = "", properties: str = "") -> str:
    """A paragraph of a Word document."""
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f'<w:p><w:pPr>{named}{properties}</w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def pptx(slides: Sequence[str]) -> bytes:
    """A presentation of slides' shapes, as XML. Its slides are stored in the opposite order."""
    last = len(slides)
    ids = "".join(f'<p:sldId id="{256 + at}" r:id="r{at}"/>' for at in range(last))
    members = {
        "_rels/.rels": relations(r1=("officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"<p:presentation {P}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            **{f"r{at}": ("slide", f"slides/slide{last - at}.xml") for at in range(last)}
        ),
        "docProps/core.xml": CORE,
    }
    for at, shapes in enumerate(slides):
        tree = f"<p:sld {P} {A}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        members[f"ppt/slides/slide{last - at}.xml"] = tree
    return archive(members)


def shape(text: str, kind: str = "", level: int = 0) -> str:
    """A shape of a slide with a paragraph of text; `kind` is that of its placeholder."""
    holder = f'<p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>' if kind else ""
    return f'<p:sp>{holder}<p:txBody><a:p><a:pPr lvl="{level}"/><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>'


def xlsx(sheets: Mapping[str, str], dimension: str = "A1") -> bytes:
    """A workbook of sheets' rows, as XML with inline strings."""
    names = list(sheets)
    listed = "".join(f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"/>' for at, name in enumerate(names, 1))
    members: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(r1=("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f"<workbook {S}><sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            **{f"r{at}": ("worksheet", f"worksheets/sheet{at}.xml") for at in range(1, len(names) + 1)}
        ),
    }
    for at, rows in enumerate(sheets.values(), 1):
        data = f'<dimension ref="{dimension}"/><sheetData>{rows}</sheetData>'
        members[f"xl/worksheets/sheet{at}.xml"] = f"<worksheet {S}>{data}</worksheet>"
    return archive(members)


def cells(row: int, *values: str | float) -> str:
    """A row of a sheet."""
    made = []
    for letter, value in zip("ABCDEFGH", values, strict=False):
        at = f'r="{letter}{row}"'
        text = f'<c {at} t="inlineStr"><is><t>{value}</t></is></c>'
        made.append(text if isinstance(value, str) else f"<c {at}><v>{value}</v></c>")
    return f'<row r="{row}">{"".join(made)}</row>'


def odt(body: str, styles: str = "", more: Mapping[str, str | bytes] | None = None) -> bytes:
    """A text document of LibreOffice, of a body's XML."""
    content = (
        f"<office:document-content {ODF}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    mime = "application/vnd.oasis.opendocument.text"
    return archive({"mimetype": mime, "content.xml": content} | dict(more or {}))


def epub(chapters: Sequence[str], more: Mapping[str, str | bytes] | None = None) -> bytes:
    """A book of chapters' bodies, as XHTML."""
    items = "".join(
        f'<item id="c{at}" href="text/c%20{at}.xhtml" media-type="application/xhtml+xml"/>'
        for at in range(len(chapters))
    )
    order = "".join(f'<itemref idref="c{at}"/>' for at in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>A book</dc:title><dc:language>fr</dc:language><dc:creator>Ann Example</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{order}</spine></package>"
    )
    container = '<container><rootfiles><rootfile full-path="in/book.opf"/></rootfiles></container>'
    members = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "in/book.opf": package}
    for at, body in enumerate(chapters):
        members[f"in/text/c {at}.xhtml"] = f"<html><head><title>c</title></head><body>{body}</body></html>"
    return archive(members | dict(more or {}))


def pdf(pages: Sequence[Sequence[Line]], info: str = "", catalog: str = "", font: str = "") -> bytes:
    """A PDF of pages' lines in Helvetica."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        font or "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for at, lines in enumerate(pages):
        drawn = "".join(f"BT /F1 {size} Tf 1 0 0 1 50 {base} Tm ({text}) Tj ET\n" for size, base, text in lines)
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * at} 0 R >>",
            f"<< /Length {len(drawn)} >>\nstream\n{drawn}endstream",
        ]
    return pdf_of([*objects, f"<< {info} >>"], info=len(objects) + 1)


def pdf_of(objects: Sequence[str], info: int = 0, trailer: str = "") -> bytes:
    """A PDF of objects, the first of them its catalog."""
    out, offsets = "%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    named = f"/Info {info} 0 R" if info else ""
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {named} {trailer} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return (out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}").encode("latin-1")
