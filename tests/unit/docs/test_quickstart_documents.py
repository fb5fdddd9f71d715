"""The documents of the second quick start: every type, the same bytes each time, and nothing of their texts is lost."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quickstart import write_documents
from quickstart.write_documents import TEXTS, WRITERS, Block, blocks_of
from tests.support.paths import ROOT
from udfs.parsing import parse as parsing
from udfs.parsing.parsed import Limits, Parsed

# By their names in alphabetical order.
TITLES = {
    "archive.rst": "The Archive",
    "boat-workshop.md": "Boat Workshop",
    "harbour-fees.xlsx": "Harbour Fees",
    "history.odt": "A Short History of Skarholm Light",
    "keepers-manual.pdf": "Keeper's Manual",
    "lens-loan.eml": "Loan of the harbour lens for our exhibition “Glass and Sea”",
    "safety-briefing.pptx": "Safety Briefing for Volunteers",
    "seabirds.epub": "Seabirds of Skarholm",
    "storm-of-1953.txt": None,
    "tides.ipynb": "Estimating the Tide",
    "visitors-guide.docx": "Visitors' Guide",
    "volunteers.html": "Volunteers Wanted",
}


@pytest.fixture(autouse=True, scope="module")
def documents_extra() -> None:
    for name in ("charset_normalizer", "docutils", "lxml", "pypdfium2", "python_calamine"):
        pytest.importorskip(name, reason="the extra documents is not installed")


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "handbook"
    assert write_documents.main(["--out", str(folder)]) == 0
    return folder


def parsed(path: Path) -> Parsed:
    return parsing.parse(path.read_bytes(), path.name, Limits())


def text_of(path: Path) -> str:
    found = parsed(path)
    assert found.text is not None, found.detail
    return found.text


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def states(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_every_type_that_is_parsed_is_there(handbook: Path) -> None:
    found = {path.name: parsed(path) for path in handbook.iterdir()}
    assert {name: document.title for name, document in found.items()} == TITLES
    # XHTML by itself is a part of books.
    assert {document.mime_type for document in found.values()} == set(parsing._WRITERS) - {"application/xhtml+xml"}


def test_a_second_call_changes_nothing(handbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = states(handbook)
    assert write_documents.main(["--out", str(handbook)]) == 0
    assert capsys.readouterr().out == f"{handbook}: 12 documents, 0 written, 12 unchanged\n"
    assert states(handbook) == before
    # Another process has other hashes; archives count in steps of two seconds.
    time.sleep(2)
    script = ROOT / "quickstart" / "write_documents.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: content for name, (_, content) in before.items()
    }


def test_only_what_differs_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_documents.main(["--out", str(tmp_path)]) == 0
    for path in tmp_path.iterdir():
        os.utime(path, ns=(1, 1))
    before = states(tmp_path)
    tmp_path.joinpath("history.odt").write_bytes(b"damaged")
    tmp_path.joinpath("archive.rst").unlink()
    capsys.readouterr()
    assert write_documents.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 12 documents, 2 written, 10 unchanged\n"
    after = states(tmp_path)
    assert {name: content for name, (_, content) in after.items()} == {n: content for n, (_, content) in before.items()}
    assert {name for name in after if after[name] != before[name]} == {"history.odt", "archive.rst"}


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "handbook"
    out.write_text("a file")
    assert write_documents.main(["--out", str(out)]) == 2
    assert capsys.readouterr().err == f"write_documents: cannot write to {out}: File exists\n"


@pytest.mark.parametrize("source", sorted(TEXTS.glob("*.*.md")), ids=lambda path: path.stem)
def test_each_word_of_a_text_comes_back_in_its_order(handbook: Path, source: Path) -> None:
    expected = words(source.read_text(encoding="utf-8"))
    found = parsed(handbook / source.stem)
    # A workbook has its title in its properties alone.
    title = words(found.title or "") if source.stem.endswith(".xlsx") else []
    assert title + words(found.text or "") == expected


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("archive.rst", "- G for glass negatives,"),
        ("boat-workshop.md", "| Steam box for bending planks | 22 | 50 |"),
        ("lens-loan.eml", "exhibition “Glass and Sea”, from 12 September 2024 to 2 February 2025."),
        ("storm-of-1953.txt", "Temperature 2 °C. Barometer 984 and falling."),
        ("tides.ipynb", "```\n[0.4, 0.6, 1.0, 1.6, 2.2, 2.6, 2.8]\n```"),
        ("volunteers.html", "- Count puffins with the ringers in July."),
    ],
)
def test_texts_that_are_copied_are_parsed(handbook: Path, name: str, sentence: str) -> None:
    assert sentence in text_of(handbook / name)


def test_one_text_is_not_utf_8(handbook: Path) -> None:
    with pytest.raises(UnicodeDecodeError):
        handbook.joinpath("storm-of-1953.txt").read_bytes().decode("utf-8")


def test_the_notebook_shows_what_its_code_prints(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = re.findall(r"^```(?:python)?\n(.*?)^```$", text_of(handbook / "tides.ipynb"), re.DOTALL | re.M)
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_pages_slides_and_sheets_begin_where_they_should(handbook: Path) -> None:
    expected = {
        "keepers-manual.pdf": ["# Keeper's Manual", "## When the fog signal fails", "## Storm"],
        "safety-briefing.pptx": [
            "# Safety Briefing for Volunteers",
            "# If there is a fire",
            "# If somebody falls into the harbour",
            "# Mercury",
        ],
        "harbour-fees.xlsx": ["# Berths", "# Services"],
    }
    for name, headings in expected.items():
        found = parsed(handbook / name)
        assert [(found.text or "")[page:].partition("\n")[0] for page in found.pages] == headings


def test_the_answers_of_the_three_questions_are_where_the_makefile_says(handbook: Path) -> None:
    manual = parsed(handbook / "keepers-manual.pdf")
    assert "ring the bronze bell on the gallery" in (manual.text or "")[manual.pages[1] : manual.pages[2]]
    fees = text_of(handbook / "harbour-fees.xlsx")
    assert "| over 10, up to 12 | 31 | 17 | 180 | 1310 |" in fees
    guide = text_of(handbook / "visitors-guide.docx")
    section = guide.split("## In the tower\n")[1].split("### Children\n")[1].split("\n#")[0]
    assert section.strip().startswith("Anyone under six years stays below")


def test_headings_lists_and_tables_of_the_sources_are_read() -> None:
    text = "# Title\n\n## A b\n\nOne\ntwo.\n\n- x\n  y\n- z\n\n| h | i |\n| --- | --- |\n| 1 |  |\n\n---\n"
    assert blocks_of(text) == [
        Block("heading", 1, "Title"),
        Block("heading", 2, "A b"),
        Block("text", text="One two."),
        Block("list", rows=(("x y",), ("z",))),
        Block("table", rows=(("h", "i"), ("1", ""))),
        Block("page"),
    ]


@pytest.mark.parametrize(
    ("kind", "block"),
    [(".pdf", "table"), (".docx", "page"), (".pptx", "table"), (".xlsx", "text"), (".odt", "list"), (".epub", "list")],
)
def test_no_writer_leaves_out_what_it_has_no_form_for(kind: str, block: str) -> None:
    parts = [Block("heading", 1, "Title"), Block("text", text="x"), Block("heading", 2, "A"), Block(block, text="y")]
    with pytest.raises(ValueError, match=f"has no form for a {block}$"):
        WRITERS[kind](parts)
