"""EPUB to Markdown: the chapters in reading order."""

import posixpath
from typing import Any
from urllib.parse import unquote

from schemas.reasons import ENCRYPTED, UNPARSABLE
from udfs.parsing.archives import Archive, attribute, local
from udfs.parsing.html_text import read_html, write_html
from udfs.parsing.markdown import Markdown
from udfs.parsing.parsed import RefusedError, iso_date, language_of, metadata_of

# Obfuscated fonts are no protection of the text.
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def write_epub(archive: Archive, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes a book.

    Args:
        archive: The book.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the book declares.
    """
    _refuse_protected(archive)
    package_name = _package_name(archive)
    package = archive.xml(package_name)
    items = {one.get("id") or "": one for one in package.iter() if local(one) == "item"}
    for reference in (one for one in package.iter() if local(one) == "itemref"):
        item = items.get(reference.get("idref") or "")
        if item is not None and "html" in (item.get("media-type") or "html") and "nav" not in _properties(item):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(package_name), unquote(item.get("href") or "")))
            if path in archive:
                write_html(read_html(archive.read(path)), out)
    return _declared(package)


def _properties(item: Any) -> list[str]:
    return (item.get("properties") or "").split()


def _package_name(archive: Archive) -> str:
    for one in archive.xml("META-INF/container.xml").iter():
        path = one.get("full-path") if local(one) == "rootfile" else None
        if path and path in archive:
            return str(path)
    raise RefusedError(UNPARSABLE, "the book does not say where its contents are")


def _refuse_protected(archive: Archive) -> None:
    root = archive.xml_if_there("META-INF/encryption.xml")
    methods = [] if root is None else [one for one in root.iter() if local(one) == "EncryptionMethod"]
    parents = [one.getparent() for one in methods if attribute(one, "Algorithm") not in _FONTS]
    if any(parent is not None and local(parent) == "EncryptedData" for parent in parents):
        raise RefusedError(ENCRYPTED, "the book is protected")


def _declared(package: Any) -> tuple[str | None, str | None, dict[str, str]]:
    said: dict[str, str] = {}
    for one in package.iter():
        name = attribute(one, "property") if local(one) == "meta" else local(one)
        if name and one.text:
            said.setdefault(name, one.text)
    metadata = metadata_of(
        author=said.get("creator"),
        created=iso_date(said.get("date")),
        modified=iso_date(said.get("dcterms:modified")),
        keywords=said.get("subject"),
        description=said.get("description"),
    )
    return " ".join((said.get("title") or "").split()) or None, language_of(said.get("language")), metadata
