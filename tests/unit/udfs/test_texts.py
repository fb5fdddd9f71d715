"""Which texts are blank, and which are not text at all."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reasons import BINARY, MAX_CHARACTERS, REASONS, TOO_LARGE
from udfs import texts
from udfs.texts import is_blank, text_fault

PROSE = ("The quick brown fox jumps over the lazy dog. " * 200).encode()


def png() -> bytes:
    """A real image of 64 x 64 pixels."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = b"".join(b"\0" + bytes((x * y * 7 + x) % 256 for x in range(64)) for y in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(pixels)) + part(b"IEND", b"")


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("word/document.xml", PROSE)
    return file.getvalue()


def pdf() -> bytes:
    stream = zlib.compress(bytes(n * n % 251 for n in range(4000)))
    head = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Length 1234 /Filter /FlateDecode >>\nstream\n"
    return head + stream + b"\nendstream\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t\r\n\v\f",
        "\u00a0\u2003\u3000\u202f",
        "\u2028\u2029\x85",
        "\u200b\u200c\u200d\u2060",
        "\ufeff",
        "\u200e\u202a\u202c\u2066",
        "\u00ad",
        "\ufe0f",
        "\ufe00\ufe0e",
        "\U000e0100\U000e01ef",
        "\U000e0041\U000e007f",
        "\0\0",
        "\x1b\x07",
        " \u200b\n\ufeff\ufe0f\0",
    ],
)
def test_invisible_text_is_blank(text: str) -> None:
    assert is_blank(text)
    assert is_blank(text * 100)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "0",
        ".",
        "-",
        " a ",
        "\u200ba",
        "\ufeff.",
        "\u4e00",
        "\u0301",
        "\u2764\ufe0f",
        "\U0001f600",
        "\ufffd",
        "\ue000",
    ],
)
def test_one_visible_character_is_enough(text: str) -> None:
    assert not is_blank(text)
    assert not is_blank(" \u200b\n" * 1000 + text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text())
def test_white_space_is_always_blank_and_blank_has_no_letter(text: str) -> None:
    assert is_blank(text) or not text.isspace()
    assert not (is_blank(text) and any(character.isalnum() for character in text))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(), id="PNG"),
        pytest.param(gzip.compress(PROSE), id="gzip"),
        pytest.param(archive(), id="zip, hence docx"),
        pytest.param(pdf(), id="PDF"),
        pytest.param(b"\x7fELF\x02\x01\x01" + b"\0" * 57 + b".text\0.data\0", id="ELF"),
        pytest.param(bytes(range(256)), id="every byte"),
        pytest.param(struct.pack("<100d", *[n / 7 for n in range(100)]), id="numbers"),
    ],
)
@pytest.mark.parametrize("errors", ["latin-1", "replaced"])
def test_bytes_read_as_text_are_binary(content: bytes, errors: str) -> None:
    text = content.decode("latin-1") if errors == "latin-1" else content.decode("utf-8", "replace")
    fault = text_fault(text)
    assert fault is not None
    assert fault[0] == BINARY


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf_16_read_as_utf_8_is_binary(encoding: str) -> None:
    fault = text_fault("Two bytes a letter.".encode(encoding).decode("utf-8"))
    assert fault is not None
    assert fault[0] == BINARY


def test_utf_16_read_as_utf_16_is_text() -> None:
    assert text_fault("Two bytes a letter.".encode("utf-16").decode("utf-16")) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("The quick brown fox.", id="English"),
        pytest.param("Žluťoučký kůň úpěl ďábelské ódy", id="Czech"),
        pytest.param("Съешь ещё этих мягких французских булок", id="Russian"),
        pytest.param("敏捷的棕色狐狸跳过了懒狗。", id="Chinese"),
        pytest.param("いろはにほへと ちりぬるを", id="Japanese"),
        pytest.param("키스의 고유조건은 입술끼리", id="Korean"),
        pytest.param("نص حكيم له سر قاطع وذو شأن عظيم", id="Arabic"),
        pytest.param("דג סקרן שט בים", id="Hebrew"),
        pytest.param("ऋषियों को सताने वाले", id="Hindi"),
        pytest.param("เป็นมนุษย์สุดประเสริฐ", id="Thai"),
        pytest.param("می\u200cخواهم نمی\u200cدانم", id="Persian with joiners"),
        pytest.param("\U0001f469\u200d\U0001f469\u200d\U0001f467\ufe0f \U0001f44d\U0001f3fd", id="emoji"),
        pytest.param("def f(x):\r\n\treturn x  # tab\r\n\f\nclass C: ...\n", id="code"),
        pytest.param('{"a": [1, 2, 3]}\n' * 50, id="JSON"),
        pytest.param("a\tb\tc\n" * 50, id="tabs"),
        pytest.param("one\x85two\x85" * 50, id="next line"),
        pytest.param("\ue000\ue001 private use", id="private use"),
        pytest.param("é" * 100, id="accents"),
        pytest.param("", id="empty"),
        pytest.param(PROSE.decode(), id="prose"),
    ],
)
def test_ordinary_text_has_no_fault(text: str) -> None:
    assert text_fault(text) is None


@pytest.mark.parametrize("control", ["\0", "\x08", "\x0e", "\x1b", "\x1f", "\x7f", "\x84", "\x86", "\x9f", "\ufffd"])
def test_one_control_character_in_twenty_is_tolerated(control: str) -> None:
    assert text_fault(control + "a" * 19) is None
    assert text_fault(control * 5 + "a" * 95) is None
    assert text_fault(control * 6 + "a" * 94) == (BINARY, "6 of 100 characters are control characters")
    assert text_fault(control) == (BINARY, "1 of 1 characters are control characters")


@pytest.mark.parametrize("character", ["\t", "\n", "\v", "\f", "\r", "\x85", "\x20", "\x7e", "\xa0"])
def test_white_space_is_not_a_control_character(character: str) -> None:
    assert text_fault(character * 100) is None


def test_a_text_of_exactly_the_limit_is_accepted() -> None:
    assert MAX_CHARACTERS == 50_000_000
    assert text_fault("a" * MAX_CHARACTERS) is None
    assert text_fault("a" * (MAX_CHARACTERS + 1)) == (TOO_LARGE, "50000001 characters, at most 50000000 are taken")


def test_the_limit_counts_characters_not_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_CHARACTERS", 4)
    assert text_fault("\U0001f600" * 4) is None
    assert text_fault("\U0001f600" * 5) == (TOO_LARGE, "5 characters, at most 4 are taken")


def test_a_text_that_is_too_large_is_not_checked_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_CHARACTERS", 4)
    assert text_fault("\0" * 5) == (TOO_LARGE, "5 characters, at most 4 are taken")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text())
def test_a_fault_has_a_known_reason_and_shows_no_text(text: str) -> None:
    fault = text_fault("canary" + text)
    if fault is not None:
        assert fault[0] in REASONS
        assert "canary" not in fault[1]


def test_real_text_has_no_fault(data_folder: Path) -> None:
    with data_folder.joinpath("scifact", "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            assert text_fault(text) is None
            assert not is_blank(text)
