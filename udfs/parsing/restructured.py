"""reStructuredText to Markdown, through docutils with everything switched off that reads other files."""

import re
from typing import Any

from udfs.parsing.html_text import write_html
from udfs.parsing.markdown import Markdown
from udfs.parsing.parsed import iso_date, language_of, metadata_of

_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([\w:.+-]+)::", re.MULTILINE)
_ROLE = re.compile(r":([\w:.+-]+):`")
_LITERAL = {"code-block", "sourcecode", "literalinclude", "productionlist", "doctest", "testcode", "testoutput"}
# What shapes a document, and is no text of it.
_SILENT = {
    "toctree",
    "index",
    "highlight",
    "currentmodule",
    "module",
    "contents",
    "sectnum",
    "only-index",
    "tabularcolumns",
}

_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 6,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "embed_stylesheet": False,
    "image_loading": "link",
    "toc_backlinks": False,
    "footnote_backlinks": False,
    "smart_quotes": False,
    "doctitle_xform": False,
    "initial_header_level": 1,
    "output_encoding": "unicode",
    "line_length_limit": 1_000_000,
}


def write_rst(text: str, out: Markdown) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes a document. Directives and roles that docutils does not know, as Sphinx has, keep their text.

    Args:
        text: The source.
        out: Where the text goes.

    Returns:
        Title, language and metadata that the document declares.
    """
    from docutils.core import publish_doctree, publish_from_doctree

    _register_unknown(text)
    tree = publish_doctree(text, settings_overrides=_SETTINGS)
    fields = _take_fields(tree)
    page = publish_from_doctree(tree, writer="html5", settings_overrides=_SETTINGS)
    start = page.find("<body")
    write_html(page[max(start, 0) :], out)
    metadata = metadata_of(author=fields.get("author") or fields.get("authors"), created=iso_date(fields.get("date")))
    return fields.get("title"), language_of(fields.get("language")), metadata


def _take_fields(tree: Any) -> dict[str, str]:
    from docutils import nodes

    fields: dict[str, str] = {}
    for node in list(tree.findall(nodes.field_list))[:1]:
        for one in node.children:
            if len(one.children) == 2:
                fields.setdefault(one.children[0].astext().lower(), one.children[1].astext())
    return fields


def _register_unknown(text: str) -> None:
    # The registries are docutils' own for the whole process. What is put there is the same whatever document asks.
    from docutils.parsers.rst import directives, roles
    from docutils.parsers.rst.languages import en

    known = set(en.directives) | set(directives._directives)
    for name in {found.lower() for found in _DIRECTIVE.findall(text)} - known:
        directives.register_directive(name, _directive(name))
    # Sphinx has an option or two more for those that docutils knows.
    for name in _LITERAL | {"code"}:
        directives.register_directive(name, _directive(name))
    for name in {found.lower() for found in _ROLE.findall(text)} - set(en.roles) - set(roles._roles):
        roles.register_local_role(name, _role)


def _role(name: str, rawtext: str, text: str, *_args: Any, **_more: Any) -> tuple[list[Any], list[Any]]:
    from docutils import nodes, utils

    shown = re.sub(r"\s*<[^<>]*>$", "", utils.unescape(text)) or text
    return [nodes.literal(rawtext, shown.lstrip("~!"))], []


def _directive(name: str) -> Any:
    """A directive for what docutils does not know: its argument, then its content."""
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class Kept(Directive):  # type: ignore[misc]  # docutils is optional
        has_content = True
        optional_arguments = 1
        final_argument_whitespace = True
        # Any option is taken: `option_spec` is asked for a converter by the option's name.
        option_spec = _AnyOption()

        def run(self) -> list[Any]:
            if name in _SILENT:
                return []
            argument = " ".join(self.arguments)
            if name in _LITERAL | {"code"}:
                code = "\n".join(self.content)
                return [nodes.literal_block(code, code, classes=["code", f"language-{argument or 'none'}"])]
            shown: list[Any] = []
            if argument:
                inline, messages = self.state.inline_text(argument, self.lineno)
                shown = [nodes.paragraph(argument, "", *inline), *messages]
            holder = nodes.container()
            self.state.nested_parse(self.content, self.content_offset, holder)
            return [*shown, holder]

    return Kept


class _AnyOption(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        return lambda value: value

    def __bool__(self) -> bool:
        return True
