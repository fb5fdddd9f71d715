"""What a document is, by its content. A name decides only between kinds of plain text, which look alike."""

import re

from udfs.parsing.archives import Archive, local
from udfs.parsing.decoding import declared_in, decode
from udfs.parsing.parsed import Limits, RefusedError

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ODT = "application/vnd.oasis.opendocument.text"
EPUB = "application/epub+zip"
HTML = "text/html"
MAIL = "message/rfc822"
NOTEBOOK = "application/x-ipynb+json"
MARKDOWN = "text/markdown"
RST = "text/x-rst"
TEXT = "text/plain"
OLE = "application/x-ole-storage"
BINARY_TYPE = "application/octet-stream"

_MAGIC = (
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"{\\rtf", "application/rtf"),
    (b"%!PS", "application/postscript"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-elf"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
)
# The part that a package of Office names as its document, by the name of that part's root element.
_OFFICE_ROOTS = {"document": DOCX, "presentation": PPTX, "workbook": XLSX}
_BY_ENDING = {
    "md": MARKDOWN, "markdown": MARKDOWN, "mdown": MARKDOWN, "mkd": MARKDOWN, "rst": RST, "rest": RST,
    "htm": HTML, "html": HTML, "xhtml": HTML, "eml": MAIL,
}  # fmt: skip
_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title)\b", re.I | re.S)
_TAG = re.compile(r"<(?:p|div|table|h[1-6]|br|a|ul|ol|span|pre|html|body)\b[^>]*>", re.IGNORECASE)
_HEADER = re.compile(r"(?:From [^\n]*\n)?(?:[!-9;-~]+:[ \t]?[^\n]*\n(?:[ \t][^\n]*\n)*)+(?:\n|\Z)")
_MAIL_FIELDS = re.compile(
    r"^(return-path|received|message-id|mime-version|from|to|date|subject|delivered-to|content-type|reply-to|cc"
    r"|x-mailer|in-reply-to|references):",
    re.IGNORECASE | re.MULTILINE,
)
_NOTEBOOK = re.compile(r'"nbformat"\s*:\s*\d')
_SNIFFED = 65_536


def type_of(content: bytes, name: str, limits: Limits) -> str:
    """Finds what a document is.

    Args:
        content: The document.
        name: Its name or path.
        limits: Of archives.

    Returns:
        Its MIME type. Kinds that have no parser have one too.
    """
    by_magic = type_by_magic(content)
    if by_magic == "application/zip":
        return _archive_type(content, limits)
    return _text_type(content, name) if by_magic == BINARY_TYPE else by_magic


def type_by_magic(content: bytes) -> str:
    """What the first bytes say; of texts and unknown content nothing more than that it is bytes."""
    if b"%PDF-" in content[:1024]:
        return PDF
    return next((mime for magic, mime in _MAGIC if content.startswith(magic)), BINARY_TYPE)


def _archive_type(content: bytes, limits: Limits) -> str:
    archive = Archive(content, limits)
    if "mimetype" in archive:
        said = archive.read("mimetype")[:100].decode("ascii", "replace").strip()
        if re.fullmatch(r"[\w.+-]+/[\w.+-]+", said):
            return ODT if said == ODT + "-template" else said
    if "META-INF/container.xml" in archive:
        return EPUB
    main = main_part(archive)
    if main:
        return _OFFICE_ROOTS.get(local(archive.xml(main)), "application/zip")
    return "application/zip"


def main_part(archive: Archive) -> str | None:
    """The member that a package of Office names as its document.

    Args:
        archive: The package.

    Returns:
        The member's name; None if the archive is no such package.
    """
    relations = archive.xml_if_there("_rels/.rels")
    for relation in [] if relations is None else relations:
        target = (relation.get("Target") or "").lstrip("/")
        if (relation.get("Type") or "").endswith("/officeDocument") and target in archive:
            return target if target.endswith(".xml") else None
    # Some writers leave the relations out.
    return next((m for m in ("word/document.xml", "ppt/presentation.xml", "xl/workbook.xml") if m in archive), None)


def _text_type(content: bytes, name: str) -> str:
    start = content[:_SNIFFED]
    try:
        text = decode(start[: len(start) // 4 * 4], declared_in(start)).lstrip("\ufeff")
    except RefusedError:
        return BINARY_TYPE
    ending = name.rpartition(".")[2].lower()
    if _is_notebook(content, text):
        return NOTEBOOK
    if _HTML.match(text):
        return HTML
    if _is_mail(text):
        return MAIL
    by_name = _BY_ENDING.get(ending, TEXT)
    if by_name == HTML:
        return HTML if _TAG.search(text) else TEXT
    return TEXT if by_name == MAIL else by_name


def _is_notebook(content: bytes, start: str) -> bool:
    if not start.lstrip().startswith("{"):
        return False
    # Writers put it first or last.
    both = start + content[-_SNIFFED:].decode("utf-8", "replace")
    return bool(_NOTEBOOK.search(both)) and ('"cells"' in both or '"worksheets"' in both)


def _is_mail(text: str) -> bool:
    head = text.lstrip("\n")[:_SNIFFED]
    found = _HEADER.match(head + ("" if head.endswith("\n") else "\n"))
    if not found:
        return False
    fields = {field.lower() for field in _MAIL_FIELDS.findall(found[0])}
    return len(fields) >= 3 or len(fields & {"received", "message-id", "mime-version", "return-path"}) >= 2
