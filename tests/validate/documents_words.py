"""What independent tools read in a document, and how many of their words another text shares."""

import re
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

from documents_corpus import CACHE, tool
from lxml import html

# Scripts without spaces are compared by letters.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_ADDRESS = re.compile(r"\b(?:https?|ftp|mailto|file):[^\s<>|)\]]+")
_MARK = re.compile(r"^\s*(?:[-*+•]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)])\s", re.MULTILINE)
_PANDOC = {"docx": "docx", "odt": "odt", "html": "html", "epub": "epub", "rst": "rst", "md": "gfm", "ipynb": "ipynb"}
# Sphinx's lists of other pages, with what is indented below them.
_TREE = re.compile(rb"^([ \t]*)\.\.[ \t]+toctree::.*\n(?:\1[ \t]+.*\n|[ \t]*\n)*", re.MULTILINE)
_SECONDS = 60


def words(text: str) -> Counter[str]:
    """The words of a text, as often as they occur; without addresses and the marks of list items."""
    plain = unicodedata.normalize("NFKC", _MARK.sub("", _ADDRESS.sub(" ", text))).casefold()
    return Counter(_WORD.findall(plain))


def independent_texts(documents: dict[str, list[Path]]) -> dict[Path, str]:
    """What Debian's pdftotext and pandoc read: by document.

    Documents that the tool refuses, or that have no text for it, are left out, and kinds that it has no reader for.
    """
    return {
        path: text
        for kind, paths in documents.items()
        if kind == "pdf" or kind in _PANDOC
        for path in paths
        if (text := _read(kind, path)).strip()
    }


def _read(kind: str, path: Path) -> str:
    if kind == "pdf":
        command, environment = tool("poppler-utils", "pdftotext", "-enc", "UTF-8", str(path), "-")
        given = b""
    else:
        data = CACHE / "tools" / "pandoc-data" / "usr" / "share" / "pandoc" / "data"
        options = ["--sandbox", f"--data-dir={data}", "-f", _PANDOC[kind], "-t", "plain", "--wrap=none"]
        options += ["--ipynb-output=none"] if kind == "ipynb" else []
        # Archives are read from their place, texts from standard input.
        archive = kind in ("docx", "odt", "epub")
        command, environment = tool("pandoc", "pandoc", *options, *([str(path)] if archive else []))
        given = b"" if archive else _without_navigation(kind, path)
    try:
        done = subprocess.run(command, input=given, env=environment, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _without_navigation(kind: str, path: Path) -> bytes:
    content = path.read_bytes()
    if kind == "rst":
        return _TREE.sub(b"", content)
    if kind != "html":
        return content
    try:
        page = html.fromstring(content)
    except ValueError:
        return content
    for element in page.xpath("//nav | //*[@role='navigation'] | //iframe"):
        if element.getparent() is not None:
            element.drop_tree()
    return html.tostring(page, encoding="utf-8")
