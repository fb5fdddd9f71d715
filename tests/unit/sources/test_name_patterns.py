"""Patterns of names mean what Hadoop means by them."""

import pytest

from spark_jobs.sources.name_patterns import matcher


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        (None, ["a", ""], []),
        ("*.pdf", ["a.pdf", ".pdf", "a\nb.pdf", "é.pdf"], ["a.pdfx", "a.PDF"]),
        ("*.{pdf,docx}", ["a.pdf", "a b.docx"], ["a.pdf.txt", "pdf"]),
        ("{a,b{c,d}}", ["a", "bc", "bd"], ["b", "acd"]),
        ("a?[!x-z]", ["abc", "a.."], ["abx", "ab"]),
        ("[a-c]", ["a", "c"], ["d", "-"]),
        ("a.b|c(d)+$", ["a.b|c(d)+$"], ["axb|c(d)+$"]),
        (r"\*\[a]", ["*[a]"], ["x[a]"]),
        ("a,b}", ["a,b}"], ["a"]),
        ("[]a]", ["]", "a"], ["b"]),
    ],
)
def test_a_pattern_fits_names(pattern: str | None, fits: list[str], others: list[str]) -> None:
    test = matcher(pattern)
    assert [name for name in fits + others if test(name.encode())] == fits


@pytest.mark.parametrize("pattern", ["a[b", "{a,b", "[!"])
def test_what_is_not_closed_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not closed"):
        matcher(pattern)
