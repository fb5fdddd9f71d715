"""HTML, EPUB, Markdown, reStructuredText, notebooks and mails."""

import json

import pytest

from tests.support.documents import epub
from tests.unit.parsing.conftest import Parse

PAGE = """<!DOCTYPE html>
<html lang="en-GB"><head><title>Kinds of
 tea</title><meta name="author" content="Ann"><style>p {}</style></head>
<body><nav>Home</nav><div role="navigation">Next</div><script>var x = "<p>no</p>"</script>
<h1>Tea</h1><p>Green &amp; <b>black</b><br>tea.<img src="x.png" alt="A cup"></p>
<ul><li>one<ol start="3"><li>deep</li><li><p>er</p></li></ol></li><li>two</li></ul>
<table><caption>Prices</caption><tr><th>Kind</th><th>Price</th></tr><tr><td colspan="2">all</td></tr>
<tr><td><p>black</p></td><td>2&#124;3</td></tr></table>
<pre><code class="language-python">def f():
    return `x`</code></pre></body></html>"""


def test_html_keeps_its_structure_and_loses_navigation(parsed: Parse) -> None:
    found = parsed(PAGE)
    assert found.text == (
        "# Tea\n\nGreen & black\ntea. A cup\n\n- one\n  3. deep\n  4. er\n- two\n\nPrices\n\n"
        "| Kind | Price |\n| --- | --- |\n| all |  |\n| black | 2\\|3 |\n\n"
        "```python\ndef f():\n    return `x`\n```"
    )
    assert (found.mime_type, found.title, found.language) == ("text/html", "Kinds of tea", "en-GB")
    assert found.metadata == {"author": "Ann"}


def test_a_table_that_arranges_a_page_is_no_table(parsed: Parse) -> None:
    inner = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>"
    found = parsed(
        f"<html><body><table><tr><td><h2>Left</h2><p>text</p></td><td><p>right</p>{inner}</td></tr></table></body></html>"
    )
    assert found.text == "## Left\n\ntext\n\nright\n\n| a | b |\n| --- | --- |\n| c | d |"


def test_text_of_html_that_is_cut_off_is_kept(parsed: Parse) -> None:
    assert parsed("<html><body><table><tr><td>left</td><td>right").text == "| left | right |\n| --- | --- |"


def test_a_paragraph_that_looks_like_a_heading_is_none(parsed: Parse) -> None:
    assert parsed("<html><body><p># include</p></body></html>").text == "\\# include"


@pytest.mark.parametrize(
    ("encoding", "declared", "text"),
    [
        ("koi8-r", "koi8-r", "Съешь же ещё этих мягких французских булок"),
        ("shift_jis", "Shift_JIS", "色は匂へど散りぬるを"),
        # As browsers do: what is declared as Latin-1 is Windows' superset of it.
        ("cp1252", "iso-8859-1", "“smart” – naïve €"),
        ("gb18030", "gb2312", "天地玄黃，宇宙洪荒"),
    ],
)
def test_html_is_read_in_the_encoding_that_it_declares(parsed: Parse, encoding: str, declared: str, text: str) -> None:
    page = f'<html><head><meta charset="{declared}"></head><body><p>{text}</p></body></html>'
    assert parsed(page.encode(encoding)).text == text


def test_chapters_of_a_book_follow_its_spine(parsed: Parse) -> None:
    found = parsed(epub(["<h1>One</h1><p>first</p>", "<h1>Two</h1><p>second</p>"]))
    assert found.text == "# One\n\nfirst\n\n# Two\n\nsecond"
    assert (found.mime_type, found.title, found.language) == ("application/epub+zip", "A book", "fr")
    assert found.metadata == {"author": "Ann Example"}


def test_markdown_passes_as_it_is(parsed: Parse) -> None:
    text = "intro\n\n```\n# no heading\n```\n\nTitle *here*\n====\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n* item"
    found = parsed(text.replace("\n", "\r\n"), "notes.MD")
    assert (found.text, found.title, found.mime_type) == (text, "Title *here*", "text/markdown")


def test_front_matter_of_markdown_is_metadata(parsed: Parse) -> None:
    found = parsed('---\ntitle: "Tea"\nlang: ja\nauthor: Ann\ndate: 2024-01-02\n---\n# Other\n\ntext\n', "a.md")
    assert (found.text, found.title, found.language) == ("# Other\n\ntext", "Tea", "ja")
    assert found.metadata == {"author": "Ann", "created": "2024-01-02T00:00:00"}


RST = """
Tea
===

:Author: Ann

See :doc:`brewing <brew>` and ``code``.

.. versionadded:: 2.0
   Shown *here*.

.. code-block:: python
   :emphasize-lines: 1

   x = 1

Kinds
-----

1. green
2. black

====  =====
Kind  Price
====  =====
a     2
====  =====

.. include:: /etc/hostname
.. raw:: html

   <p>no</p>
.. toctree::

   other
"""


def test_restructured_text_keeps_its_structure_and_what_sphinx_adds(parsed: Parse) -> None:
    found = parsed(RST, "tea.rst")
    assert found.text == (
        "# Tea\n\nAuthor:\n\nAnn\n\nSee brewing and code.\n\n2.0 Shown here.\n\n```python\nx = 1\n```\n\n## Kinds\n\n"
        "1. green\n2. black\n\n| Kind | Price |\n| --- | --- |\n| a | 2 |"
    )
    assert (found.title, found.metadata) == ("Tea", {"author": "Ann"})


def test_a_notebook_is_text_code_and_what_it_printed(parsed: Parse) -> None:
    outputs = [
        {"output_type": "stream", "text": ["1\n", "2\n"]},
        {"output_type": "display_data", "data": {"image/png": "iVBOR", "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/html": "<table><tr><td>a</td><td>b</td></tr></table>"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["\x1b[31m"]},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Tea\n", "\n", "text"]},
        {"cell_type": "code", "source": "x = 1", "outputs": outputs},
        {"cell_type": "raw", "source": "raw"},
    ]
    book = {"nbformat": 4, "metadata": {"language_info": {"name": "python"}}, "cells": cells}
    found = parsed(json.dumps(book), "wrong.txt")
    assert found.text == (
        "# Tea\n\ntext\n\n```python\nx = 1\n```\n\n```\n1\n2\n```\n\n```\n<Figure>\n```\n\n"
        "| a | b |\n| --- | --- |\n\n```\nValueError: bad\n```\n\nraw"
    )
    assert (found.mime_type, found.title) == ("application/x-ipynb+json", "Tea")


@pytest.mark.parametrize("kind", ["text", "data"])
def test_a_long_output_of_a_notebook_is_cut(parsed: Parse, kind: str) -> None:
    made = {"text": "x" * 20_000} if kind == "text" else {"data": {"text/markdown": "x" * 20_000}}
    cells = [{"cell_type": "code", "source": "go()", "outputs": [{"output_type": "stream"} | made]}]
    found = parsed(json.dumps({"nbformat": 4, "cells": cells}))
    assert found.text is not None and found.text.count("x") == 10_000


MAIL = """\
From: =?utf-8?B?w4RubmU=?= <anne@example.org>
To: bob@example.org
Subject: =?koi8-r?B?8NLJ18XU?=
Date: Mon, 6 May 2024 07:08:09 +0200
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: multipart/alternative; boundary="c"

--c
Content-Type: text/plain; charset=windows-1252
Content-Transfer-Encoding: quoted-printable

Caf=E9 at =80 2
--c
Content-Type: text/html

<p>HTML of it</p>
--c--
--b
Content-Type: text/html; charset=utf-8

<p>More in <b>HTML</b></p>
--b
Content-Type: text/plain; name="secret.txt"
Content-Disposition: attachment; filename="secret.txt"

attached
--b
Content-Type: message/rfc822

From: inner@example.org
Subject: inner

forwarded
--b--
"""


def test_a_mail_is_its_headers_and_its_plain_text(parsed: Parse) -> None:
    found = parsed(MAIL, "mail")
    assert found.text == (
        "# Привет\n\nFrom: Änne <anne@example.org>\nTo: bob@example.org\nDate: Mon, 6 May 2024 07:08:09 +0200\n\n"
        "Café at € 2\n\nMore in HTML"
    )
    assert (found.mime_type, found.title) == ("message/rfc822", "Привет")
    assert found.metadata == {
        "author": "Änne <anne@example.org>",
        "to": "bob@example.org",
        "created": "2024-05-06T07:08:09+02:00",
    }
