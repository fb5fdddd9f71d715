import pytest

from schemas.reasons import BINARY
from tests.unit.parsing.conftest import Parse

GERMAN = (
    "Die Straße führt über die Brücke zum großen Haus, in dem die Großmutter früher süße Äpfel für alle Gäste schälte."
)
RUSSIAN = (
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. "
    "Все смешалось в доме Облонских. Жена узнала, что муж был в связи с бывшею в их доме француженкою-гувернанткой."
)
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    "何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。"
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (RUSSIAN, "utf-16-le"),
        (JAPANESE + " with words", "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
    ],
)
def test_encodings_are_found_without_a_declaration(parsed: Parse, text: str, encoding: str) -> None:
    found = parsed(text.encode(encoding), "notes.txt")
    assert (found.text, found.mime_type) == (text, "text/plain")


def test_a_mode_line_declares_an_encoding(parsed: Parse) -> None:
    text = ".. -*- coding: koi8-r -*-\n\nя\n"
    assert parsed(text.encode("koi8-r"), "a.rst").text == "я"


@pytest.mark.parametrize("declared", ["utf-16", "rot13", "no-such-encoding", "idna"])
def test_a_declaration_that_cannot_be_true_is_passed_over(parsed: Parse, declared: str) -> None:
    assert parsed(f'<html><meta charset="{declared}"><p>ä</p></html>').text == "ä"


def test_line_ends_become_line_feeds(parsed: Parse) -> None:
    assert parsed(b"a\r\nb\rc", "a.txt").text == "a\nb\nc"


@pytest.mark.parametrize("content", [bytes(range(256)) * 40, b"\x00\x01\x02\x03" * 200, b"\x1a" * 900 + b"word"])
def test_bytes_that_are_no_text_are_binary(parsed: Parse, content: bytes) -> None:
    found = parsed(content, "a.txt")
    assert (found.reason, found.mime_type) == (BINARY, "application/octet-stream")
