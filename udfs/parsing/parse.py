"""One document's bytes to text, in this process."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from schemas.errors import InputError
from schemas.reasons import BINARY, ENCRYPTED, TOO_LARGE, UNPARSABLE
from udfs.parsing import content_type as kinds
from udfs.parsing.archives import Archive
from udfs.parsing.content_type import type_of
from udfs.parsing.decoding import declared_in, decode
from udfs.parsing.markdown import Markdown
from udfs.parsing.parsed import Limits, Parsed, RefusedError

# Raised with every change of our own that can change a text.
_RULES = 1
# The libraries that decide a text.
_DECIDING = ("pypdfium2", "lxml", "python-calamine", "docutils", "charset-normalizer")

# Title, language and metadata.
_Declared = tuple[str | None, str | None, dict[str, str]]
_Writer = Callable[[bytes, Markdown, Limits], _Declared]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


# Our rules and the libraries that decide a text, such as `1 pypdfium2-5.15.2 lxml-6.1.3`: another one may give others.
PARSER_VERSION = " ".join([str(_RULES), *(f"{name}-{_installed(name)}" for name in _DECIDING)])


def need_packages() -> None:
    """Refuses to begin where a package that parses documents is missing.

    Raises:
        InputError: It names the packages, and how to install them.
    """
    missing = [name for name in _DECIDING if _installed(name) == "missing"]
    if missing:
        raise _not_installed(", ".join(missing))


def parse(content: bytes, name: str, limits: Limits) -> Parsed:
    """Turns a document into Markdown-like text. It may hang or swell: see `BoundedParser`.

    Args:
        content: The document.
        name: Its name or path; it decides between kinds of plain text.
        limits: What it may cost, apart from time and memory.

    Returns:
        The text with what the document declares, or the reason why it was refused.
    """
    mime = kinds.type_by_magic(content)
    out = Markdown(limits.characters)
    try:
        if len(content) > limits.content_bytes:
            raise RefusedError(TOO_LARGE, f"it has {len(content)} bytes, at most {limits.content_bytes} are taken")
        mime = type_of(content, name, limits)
        title, language, metadata = _writer_of(mime, content)(content, out, limits)
    except RefusedError as error:
        return Parsed(None, mime, reason=error.reason, detail=error.detail)
    except MemoryError:
        return Parsed(None, mime, reason=TOO_LARGE, detail="parsing it takes more memory than is allowed")
    except ImportError as error:
        raise _not_installed(error.name or "") from error
    except Exception as error:
        # Whatever a library stumbles over costs this document alone. Its message may quote the text.
        return Parsed(None, mime, reason=UNPARSABLE, detail=f"the parser failed with {type(error).__name__}")
    return Parsed(out.text, mime, title or out.first_heading, out.pages, language, metadata)


def load_parsers() -> None:
    """Imports what `parse` needs, so that no document has to wait for it."""
    try:
        import charset_normalizer.api  # noqa: F401
        import docutils.core
        import docutils.parsers.rst
        import docutils.writers.html5_polyglot  # noqa: F401
        import lxml.etree  # noqa: F401
        import pypdfium2  # noqa: F401
        import python_calamine  # noqa: F401
    except ImportError as error:
        raise _not_installed(error.name or "") from error


def _not_installed(packages: str) -> InputError:
    return InputError(
        f"documents are parsed with packages that are not installed: {packages}. "
        "Run pip install 'embedlake[documents]'."
    )


def _writer_of(mime: str, content: bytes) -> _Writer:
    writer = _WRITERS.get(mime)
    if writer is None:
        # Office protects a document by wrapping it: the name of the wrapped stream is UTF-16.
        if mime == kinds.OLE and "EncryptedPackage".encode("utf-16-le") in content:
            raise RefusedError(ENCRYPTED, "the document is protected by a password")
        if mime == kinds.BINARY_TYPE:
            raise RefusedError(BINARY, "its content is neither text nor any known type of document")
        raise RefusedError(UNPARSABLE, f"documents of type {mime} are not taken")
    return writer


def _docx(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.word import write_docx

    return write_docx(Archive(content, limits), out)


def _pptx(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.slides import write_pptx

    return write_pptx(Archive(content, limits), out)


def _xlsx(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.sheets import write_xlsx

    return write_xlsx(content, Archive(content, limits), out)


def _odt(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.open_document import write_odt

    return write_odt(Archive(content, limits), out)


def _epub(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.epub import write_epub

    return write_epub(Archive(content, limits), out)


def _pdf(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.portable import write_pdf

    return write_pdf(content, out)


def _html(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.html_text import read_html, write_html

    head = write_html(read_html(content), out)
    return " ".join(head.title.split()) or None, head.language, head.metadata()


def _mail(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.mail import write_mail

    return write_mail(content, out, limits)


def _notebook(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.notebook import write_notebook

    return write_notebook(decode(content), out)


def _rst(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.restructured import write_rst

    return write_rst(decode(content, declared_in(content)), out)


def _markdown(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    from udfs.parsing.plain import write_markdown

    return write_markdown(decode(content), out)


def _text(content: bytes, out: Markdown, limits: Limits) -> _Declared:
    out.verbatim(decode(content, declared_in(content)))
    return None, None, {}


_WRITERS: dict[str, _Writer] = {
    kinds.PDF: _pdf,
    kinds.DOCX: _docx,
    kinds.PPTX: _pptx,
    kinds.XLSX: _xlsx,
    kinds.ODT: _odt,
    kinds.EPUB: _epub,
    "application/xhtml+xml": _html,
    kinds.HTML: _html,
    kinds.MAIL: _mail,
    kinds.NOTEBOOK: _notebook,
    kinds.RST: _rst,
    kinds.MARKDOWN: _markdown,
    kinds.TEXT: _text,
}
