"""PDF."""

from schemas.reasons import NO_TEXT_LAYER
from tests.support.documents import pdf, pdf_of
from tests.unit.parsing.conftest import Parse

INFO = "/Title (Tea  report) /Author (Ann) /CreationDate (D:20240506070809+02'00')"
BODY = "Tea is a drink made by pouring hot water over leaves of a bush."


def lines(*texts: str, first: float = 700.0) -> list[tuple[float, float, str]]:
    return [(10, first - 12 * at, text) for at, text in enumerate(texts)]


def test_larger_lines_are_headings_and_gaps_part_paragraphs(parsed: Parse) -> None:
    first = [(20, 760, "Tea"), (14, 730, "Kinds"), *lines(BODY, BODY), *lines(BODY, first=650)]
    second = [(14, 760, "Prices"), *lines("\x95 green", "\x95 black")]
    found = parsed(pdf([first, [], second], INFO, "/Lang (en-US)"))
    assert found.text == (f"# Tea\n\n## Kinds\n\n{BODY}\n{BODY}\n\n{BODY}\n\n## Prices\n\n- green\n- black")
    assert [found.text[at : at + 9] for at in found.pages] == ["# Tea\n\n##", "## Prices", "## Prices"]
    assert (found.title, found.language, found.mime_type) == ("Tea report", "en-US", "application/pdf")
    assert found.metadata == {"author": "Ann", "created": "2024-05-06T07:08:09+02:00"}


def test_letters_scaled_by_the_page_have_their_real_size(parsed: Parse) -> None:
    drawn = "BT /F1 1 Tf 24 0 0 24 50 700 Tm (Large) Tj ET\n" + "".join(
        f"BT /F1 1 Tf 10 0 0 10 50 {600 - 12 * at} Tm ({BODY}) Tj ET\n" for at in range(3)
    )
    made = pdf_of(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(drawn)} >>\nstream\n{drawn}endstream",
        ]
    )
    text = parsed(made).text
    assert text is not None and text.startswith(f"# Large\n\n{BODY}\n")


def test_lines_of_one_size_have_no_heading(parsed: Parse) -> None:
    assert parsed(pdf([lines("Short", BODY)])).text == f"Short\n{BODY}"


def test_words_parted_at_a_line_s_end_are_joined(parsed: Parse) -> None:
    assert parsed(pdf([lines("A long hyphen-", "ated word")])).text == "A long hyphenated word"


def test_pages_without_text_are_a_picture_to_be_read_by_others(parsed: Parse) -> None:
    found = parsed(pdf([[], []]))
    assert (found.reason, found.detail) == (NO_TEXT_LAYER, "none of its 2 pages has text")
