"""DOCX, PPTX, XLSX and ODT."""

from tests.support.documents import CORE, ODF, A, W, cells, docx, odt, paragraph, pptx, shape, xlsx
from tests.unit.parsing.conftest import Parse

STYLES = (
    f'<w:styles {W}><w:docDefaults><w:rPrDefault><w:rPr><w:lang w:val="pt-BR"/></w:rPr></w:rPrDefault></w:docDefaults>'
    '<w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:styleId="Mine"><w:name w:val="My heading"/><w:basedOn w:val="berschrift1"/></w:style>'
    '<w:style w:styleId="Deep"><w:name w:val="Deep"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>'
    '<w:style w:styleId="Code"><w:name w:val="HTML Preformatted"/></w:style></w:styles>'
)
NUMBERING = (
    f'<w:numbering {W}><w:abstractNum w:abstractNumId="7">'
    '<w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl><w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl>'
    '</w:abstractNum><w:num w:numId="3"><w:abstractNumId w:val="7"/></w:num></w:numbering>'
)


def numbered(depth: int) -> str:
    return f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="3"/></w:numPr>'


def table(*rows: tuple[str, ...]) -> str:
    made = ["".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows]
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in made)}</w:tbl>"


def test_headings_lists_tables_and_code_of_word(parsed: Parse) -> None:
    body = (
        paragraph("First", "berschrift1")
        + paragraph("Own", "Mine")
        + paragraph("Deep", "Deep")
        + paragraph("Plain  text")
        + "".join(paragraph(text, "", numbered(depth)) for text, depth in (("a", 0), ("b", 1), ("c", 0)))
        + table(("Name", "Size"), ("x|y", "2"))
        + paragraph("if x:", "Code")
        + paragraph("    go()", "Code")
    )
    found = parsed(docx(body, {"word/styles.xml": STYLES, "word/numbering.xml": NUMBERING}))
    assert found.text == (
        "# First\n\n# Own\n\n### Deep\n\nPlain text\n\n1. a\n  - b\n2. c\n\n"
        "| Name | Size |\n| --- | --- |\n| x\\|y | 2 |\n\n```\nif x:\n    go()\n```"
    )
    assert (found.title, found.language, found.pages) == ("First", "pt-BR", ())


def test_properties_of_word_come_before_its_first_heading(parsed: Parse) -> None:
    found = parsed(docx(paragraph("First", "h"), {"docProps/core.xml": CORE}))
    assert (found.title, found.language) == ("Annual report", "de-DE")
    assert found.metadata == {"author": "Ann Example", "created": "2024-05-06T07:08:09Z"}


def test_word_gives_what_a_reader_sees(parsed: Parse) -> None:
    body = (
        "<w:p><w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>"
        "<w:ins><w:r><w:t xml:space='preserve'> new</w:t></w:r></w:ins>"
        "<w:r><w:instrText>HYPERLINK</w:instrText></w:r><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink>"
        "<w:r><w:tab/><w:t>after</w:t><w:br/><w:t>line</w:t></w:r></w:p>"
        "<w:sdt><w:sdtContent>" + paragraph("in a control") + "</w:sdtContent></w:sdt>"
    )
    assert parsed(docx(body)).text == "kept newlink after\nline\n\nin a control"


def test_of_alternatives_one_is_read_and_boxes_follow_their_paragraph(parsed: Parse) -> None:
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    box = f"<w:pict><w:txbxContent>{paragraph('boxed')}</w:txbxContent></w:pict>"
    both = f"<mc:AlternateContent {mc}><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
    body = f"<w:p><w:r><w:t>around</w:t></w:r><w:r>{both}</mc:AlternateContent></w:r></w:p>"
    assert parsed(docx(body)).text == "around\n\nboxed"


def test_notes_of_word_stand_at_its_end(parsed: Parse) -> None:
    notes = f'<w:footnotes {W}><w:footnote w:id="2">{paragraph("Said once.")}</w:footnote></w:footnotes>'
    body = '<w:p><w:r><w:t>text</w:t><w:footnoteReference w:id="2"/></w:r></w:p>' + paragraph("more")
    assert parsed(docx(body, {"word/footnotes.xml": notes})).text == "text [1]\n\nmore\n\n[1] Said once."


def test_slides_are_pages_in_the_order_of_the_presentation(parsed: Parse) -> None:
    cell = "<a:tc><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"
    grid = (
        f"<p:graphicFrame><a:graphic {A}><a:graphicData><a:tbl>"
        + "".join(f"<a:tr>{''.join(cell.format(text) for text in row)}</a:tr>" for row in (("Q1", "Q2"), ("1", "2")))
        + "</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )
    first = shape("Opening", "title") + shape("point", "body") + shape("under it", "body", 1) + shape("7", "sldNum")
    found = parsed(pptx([first, shape("Numbers", "ctrTitle") + grid + shape("loose")]))
    assert found.text is not None
    assert [found.text[at:].split("\n")[0] for at in found.pages] == ["# Opening", "# Numbers"]
    assert found.text == (
        "# Opening\n\n- point\n  - under it\n\n# Numbers\n\n| Q1 | Q2 |\n| --- | --- |\n| 1 | 2 |\n\nloose"
    )
    assert (found.title, found.language) == ("Annual report", "de-DE")


def test_sheets_are_pages_with_tables(parsed: Parse) -> None:
    first = cells(2, "Name", "Size") + cells(3, "a", 1.0) + cells(5, "b", 2.5)
    found = parsed(xlsx({"Parts": first, "Empty": "", "Rest": cells(1, "alone")}))
    assert found.text == (
        "# Parts\n\n| Name | Size |\n| --- | --- |\n| a | 1 |\n| b | 2.5 |\n\n# Empty\n\n# Rest\n\n| alone |\n| --- |"
    )
    assert [found.text[at : at + 4] for at in found.pages] == ["# Pa", "# Em", "# Re"]
    assert found.title == "Parts"


def test_opendocument_keeps_its_structure(parsed: Parse) -> None:
    styles = (
        '<text:list-style style:name="L1"><text:list-level-style-number text:level="1" style:num-format="1"/>'
        "</text:list-style>"
        '<style:style style:name="P7" style:parent-style-name="Preformatted_20_Text"/>'
    )
    row = "<table:table-row>{}</table:table-row>"
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="2">Part</text:h>'
        '<text:p>two<text:s text:c="2"/>words<text:note><text:note-body><text:p>a note</text:p></text:note-body>'
        "</text:note><text:line-break/>next</text:p>"
        '<text:list text:style-name="L1"><text:list-item><text:p>one</text:p>'
        "<text:list><text:list-item><text:p>inner</text:p></text:list-item></text:list></text:list-item>"
        "<text:list-item><text:p>two</text:p></text:list-item></text:list>"
        f"<table:table>{row.format(cell.format('A') + cell.format('B'))}"
        f"{row.format(cell.format('1') * 2)}</table:table>"
        '<text:p text:style-name="P7">x = 1</text:p>'
    )
    meta = (
        f"<office:document-meta {ODF}><office:meta><dc:title>Named</dc:title>"
        "<meta:initial-creator>Ann</meta:initial-creator>"
        "<meta:creation-date>2020-01-02T03:04:05</meta:creation-date></office:meta></office:document-meta>"
    )
    kept = (
        f'<office:document-styles {ODF}><office:styles><style:default-style style:family="paragraph">'
        '<style:text-properties fo:language="nl" fo:country="BE"/></style:default-style></office:styles>'
        "</office:document-styles>"
    )
    found = parsed(odt(body, styles, {"meta.xml": meta, "styles.xml": kept}))
    assert found.text == (
        "## Part\n\ntwo words [1]\nnext\n\n1. one\n  - inner\n2. two\n\n| A | B |\n| --- | --- |\n| 1 | 1 |\n\n"
        "```\nx = 1\n```\n\n[1] a note"
    )
    assert (found.title, found.language) == ("Named", "nl-BE")
    assert found.metadata == {"author": "Ann", "created": "2020-01-02T03:04:05"}
