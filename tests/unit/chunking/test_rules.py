"""Rules 2: what is kept whole, where the rest is cut, and what a chunk knows of its place. Rules 1 stay the same."""

import hashlib
import random
import re
import sys
import unicodedata
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.chunking.test_chunks import MIXED_TEXT, WordCounter, assert_sound
from udfs.chunking.boundaries import Level
from udfs.chunking.chunks import Chunk, chunk_text
from udfs.chunking.outline import outline_of
from udfs.chunking.scripts import segment_levels
from udfs.specs import ChunkSpec

DOCUMENT = Path(__file__).with_name("rules.txt")


def chunks_of(text: str, max_tokens: int, rules: int = 2, min_tokens: int | None = None) -> list[Chunk]:
    least = max_tokens // 4 if min_tokens is None else min_tokens
    spec = ChunkSpec(method="structure", max_tokens=max_tokens, min_tokens=least, rules=rules)
    return chunk_text(text, spec, WordCounter())


def texts_of(text: str, max_tokens: int, rules: int = 2) -> list[str]:
    return [chunk.text for chunk in chunks_of(text, max_tokens, rules)]


def digest(rules: int) -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    spans = [(each.char_start, each.char_end) for most in (12, 32, 64) for each in chunks_of(text, most, rules)]
    return hashlib.sha256(repr(spans).encode()).hexdigest()[:16]


# A change here means that the chunks of existing spaces change: make it a new number of the rules.
def test_rules_that_made_spaces_never_change() -> None:
    assert (digest(1), digest(2)) == ("3dcc4501d3748b7f", "aeccf4c88d070ccd")


CODE = "```python\n# one\n\nimport two\n\nprint(three)\n```"
TABLE = "| name | size |\n| --- | --- |\n| one | 1 |\n| two | 2 |\n| six | 6 |"
LIST = "- one two\n  - three four\n  - five six\n- seven eight\n  nine"


@pytest.mark.parametrize("block", [CODE, TABLE, LIST], ids=["code", "table", "items"])
@pytest.mark.parametrize("before", ["Alpha beta.", "Alpha beta gamma. " * 3, "Alpha beta. " * 20])
@pytest.mark.parametrize("room", [0, 3, 10])
def test_what_fits_is_kept_whole(block: str, before: str, room: int) -> None:
    items = block.split("\n- ") if block is LIST else [block]
    fits = max(WordCounter().inputs(["- " + item for item in items])) + room
    chunks = texts_of(f"{before}\n\n{block}\n\nGamma. Delta epsilon. Zeta.", fits)
    assert all(any(item in chunk for chunk in chunks) for item in items), chunks


@pytest.mark.parametrize(
    ("text", "max_tokens", "starts"),
    [
        pytest.param(CODE, 13, ["import two", "print(three)"], id="code at blank lines"),
        pytest.param(
            "```\n" + "\n".join(f"call. {n}" for n in range(9)) + "\n```",
            17,
            [f"call. {n}" for n in range(1, 9)],
            id="code without blank lines at lines",
        ),
        pytest.param(TABLE, 24, ["| two", "| six"], id="a table at rows; its header keeps the first one"),
        pytest.param(
            "- one two. Three\n" + "\n".join(f"  - four. {n}" for n in range(9)), 16, ["  - four."], id="items"
        ),
        pytest.param(
            "---\na: b. C\nd: e. F\ng: h. I\nj: k. L\n---\n\nText.", 16, ["a:", "d:", "g:", "j:"], id="matter"
        ),
    ],
)
def test_what_does_not_fit_is_cut_at_its_own_parts(text: str, max_tokens: int, starts: list[str]) -> None:
    chunks = texts_of(text, max_tokens)
    assert len(chunks) > 1
    assert all(chunk.startswith(tuple(start.strip() for start in starts)) for chunk in chunks[1:] if chunk != "Text.")
    assert not any(re.fullmatch(r"(```|---)\w*", chunk) for chunk in chunks)


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_comment_in_code_is_no_heading(fence: str) -> None:
    text = f"# Title\n\nText.\n\n{fence}sh\n\n# comment\n\n## more\nrun\n{fence}\n\nThe end."
    assert [heading.title for heading in outline_of(text).headings] == ["Title"]


def test_a_stray_fence_does_not_turn_the_rest_inside_out() -> None:
    text = "Text one.\n\n```sh\nrun\n```\n\n# Head\n\nText.\n\n```\nmore\n```\n\n# Foot\n"
    closing = text.replace("# Head", "More.\n```\n\n# Head").replace("Text.\n\n```\nmore", "Text:\n```\nmore")
    for stray in ("```\n\n" + text, text.replace("# Head", "```\n\n# Head"), closing):
        assert [heading.title for heading in outline_of(stray).headings] == ["Head", "Foot"]


def test_a_fence_without_an_end_is_text() -> None:
    assert [each.title for each in outline_of("```sh\nrun\n\n# Head\n\nText").headings] == ["Head"]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (
            "# A\n\none\n\n## B\n\ntwo\n\n### C\n\nthree\n\n## D ##\n\nfour\n\n# E\n\nfive",
            ["A", "AB", "ABC", "AD", "E"],
        ),
        ("A\n===\n\none\n\nB\n---\n\ntwo\n\n### C\n\nthree", ["A", "AB", "ABC"]),
        ("===\nA\n===\n\none\n\nB\n===\n\ntwo\n\nC\n---\n\nthree\n\nD\n===\n\nfour", ["A", "AB", "ABC", "AD"]),
        ("one\n\n### C\n\ntwo\n\n# A\n\nthree", ["", "C", "A"]),
    ],
    ids=["Markdown", "setext", "reStructuredText", "levels left out"],
)
def test_a_chunk_knows_the_headings_above_it(text: str, paths: list[str]) -> None:
    words = ["one", "two", "three", "four", "five"][: len(paths)]
    found = {word: "".join(outline_of(text).headings_of(text.index(word), len(text))) for word in words}
    assert found == dict(zip(words, paths, strict=True))


def test_a_chunk_is_under_the_headings_that_it_begins_with() -> None:
    chunks = chunks_of("# A\n\n## B\n\nOne two three. Four five six.\n\n## C\n\nSeven eight nine ten.", 16)
    assert [chunk.headings for chunk in chunks] == [("A", "B"), ("A", "C")]
    assert all(chunk.headings == () for chunk in chunks_of("# A\n\nOne.", 16, rules=1))


def test_rows_within_a_table_have_its_header() -> None:
    outline = outline_of(f"Alpha beta.\n\n{TABLE}\n\nGamma delta.")
    headers = {word: outline.table_header(outline.text.index(word)) for word in ("Alpha", "| name", "| two", "Gamma")}
    assert headers == {"Alpha": "", "| name": "", "| two": "| name | size |", "Gamma": ""}
    spec = ChunkSpec(method="structure", max_tokens=32, min_tokens=4, context=("headings",))
    chunks = chunk_text(
        f"Alpha beta.\n\n{TABLE}\n\nGamma delta. " + "Epsilon zeta eta theta. " * 9, spec, WordCounter()
    )
    assert {chunk.context for chunk in chunks if "|" not in chunk.text} == {""}
    assert {chunk.context for chunk in chunks if chunk.text.startswith("| six")} <= {"| name | size |\n\n"}
    assert any("| name" in chunk.context for chunk in chunks) and all(len(chunk.context) < 20 for chunk in chunks)


@pytest.mark.parametrize("most", [12, 16, 24, 48])
def test_a_heading_never_ends_a_chunk(most: int) -> None:
    parts = ["Alpha beta gamma. Delta.", TABLE, CODE, LIST, "word " * 60]
    text = "".join(f"## Head {number}\n\n{parts[number % len(parts)]}\n\n" for number in range(40))
    for chunk in chunks_of(text, most):
        assert not re.search(r"## Head \d+\Z", chunk.text), chunk.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("សួស្តី។ល្អណាស់៕", ["សួស្តី។", "ល្អណាស់៕"]),
        ("ត្រី ខ្យង ។ល។ និង", ["ត្រី ខ្យង ។ល។", "និង"]),
        ("ကောင်းပါသည်။ သွားမည်။", ["ကောင်းပါသည်။", "သွားမည်။"]),
        ("यह पहला है। यह दूसरा है॥", ["यह पहला है।", "यह दूसरा है॥"]),
        ("یہ پہلا ہے۔یہ دوسرا ہے۔", ["یہ پہلا ہے۔", "یہ دوسرا ہے۔"]),
        ("ما هذا؟ هذا كتاب. نعم", ["ما هذا؟", "هذا كتاب.", "نعم"]),
        ("ฉันไปตลาด แล้วกลับบ้าน ต่างๆ นานา ราคา 100 บาท", ["ฉันไปตลาด", "แล้วกลับบ้าน", "ต่างๆ นานา", "ราคา 100 บาท"]),
        ("ຂ້ອຍໄປ ລາວມາ", ["ຂ້ອຍໄປ", "ລາວມາ"]),
        ("བོད་ཡིག། ཡི་གེ།", ["བོད་ཡིག།", "ཡི་གེ།"]),
        ("値は３．１４です．次の文．", ["値は３．１４です．", "次の文．"]),
        ("今日は「はい。」と言う。終わり", ["今日は「はい。」", "と言う。", "終わり"]),
    ],
    ids=[
        "Khmer",
        "Khmer, and so on",
        "Burmese",
        "Hindi",
        "Urdu",
        "Arabic",
        "Thai",
        "Lao",
        "Tibetan",
        "wide",
        "Japanese",
    ],
)
def test_sentences_of_many_scripts(text: str, expected: list[str]) -> None:
    assert [text[atom.start : atom.end] for atom in outline_of(text).atoms] == expected


# Words and syllables as dictionaries have them; a cut elsewhere is wrong, a boundary that is not offered is not.
@pytest.mark.parametrize(
    "words",
    [
        "私は 遅刻魔で 待ち合わせに いつも 遅刻してしまいます",
        "今天 是 晴天 我们 一起 去 公园 散步",
        "今天 是 晴天 我們 一起 去 公園 散步",
        "วัน นี้ อากาศ ดี มาก เรา จะ ไป ตลาด",
        "មនុស្ស ទាំង អស់ កើត មក មាន សេ រី ភាព",
        "ມະ ນຸດ ທຸກ ຄົນ ເກີດ ມາ ມີ ສິດ ເທົ່າ ທຽມ ກັນ ຄວາມ ຫມັ້ນ",
        "လူ တိုင်း သည် တူ ညီ လွတ် လပ် သော ဂုဏ် သိက္ခာ",
    ],
    ids=["Japanese", "Chinese, simplified", "Chinese, traditional", "Thai", "Khmer", "Lao", "Burmese"],
)
def test_words_that_no_space_separates(words: str) -> None:
    text = "".join(words.split())
    starts = set(accumulate(map(len, words.split())))
    levels = segment_levels(text, np.frombuffer(text.encode("utf-32-le"), "<u4"))
    assert levels is not None
    found = set(np.flatnonzero(levels).tolist())
    assert found <= starts, [text[:place] + "|" + text[place:] for place in found - starts]
    assert len(found) >= 0.5 * (len(starts) - 1)


def test_a_long_sentence_is_cut_at_commas_and_between_words() -> None:
    text = "今天是晴天我们一起去公园散步，明天是雨天他们一起去图书馆看书，" * 60
    words = {"今天", "明天", "是", "晴天", "我们", "一起", "去", "公园", "散步", "雨天", "他们", "图书馆", "看书", "，"}
    for most in (24, 40, 64):
        chunks = texts_of(text, most)
        assert len(chunks) > 3
        assert all(chunk.endswith("，") for chunk in chunks)
    for chunk in chunks_of(text.replace("，", ""), 16):
        assert chunk.text.startswith(tuple(words)) and chunk.text.endswith(tuple(words))


UNITS = [
    "a\u0301\u0323",
    "\u0e01\u0e33\u0e49",
    "\u0e40\u0e01\u0e32",
    "\u1780\u17d2\u1798\u17c2",
    "\u1000\u1039\u1001",
]
UNITS += [
    "\u0915\u094d\u0937\u093f",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\u304b\u30fc",
]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(units=st.lists(st.sampled_from(UNITS), min_size=120, max_size=200), most=st.integers(24, 60))
def test_no_cut_within_a_cluster(units: list[str], most: int) -> None:
    text, starts = "".join(units), {0}
    for unit in units:
        starts.add(max(starts) + len(unit))
    for chunk in chunks_of(text, most):
        assert chunk.char_start in starts
        assert not unicodedata.category(chunk.text[0]).startswith("M")


def test_no_cut_within_a_flag() -> None:
    chunks = chunks_of("x\U0001f1e9\U0001f1ea" * 300, 40)
    assert len(chunks) > 10 and not any(chunk.text.startswith("\U0001f1ea") for chunk in chunks)


BLOCKS = [
    CODE,
    TABLE,
    LIST,
    "```\n",
    "~~~\n",
    "| - | - |\n",
    "\n\n# Head\n\n",
    "\nHead\n====\n",
    "  - x\n",
    "    - y\n",
    "1. z\n",
]
BLOCKS += [
    "---\n",
    "---\na: b\n---\n",
    "ฉันไป ตลาด",
    "今日は、晴れ。",
    "លោក។",
    "ကကြီး။",
    "ຂ້ອຍ ໄປ",
    "یہ۔",
    "\u200d",
    "\ufeff",
    "> ",
    "\t",
]
ANY_TEXT = st.lists(st.one_of(st.sampled_from(BLOCKS), MIXED_TEXT), max_size=12).map("".join)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=ANY_TEXT, max_tokens=st.integers(3, 40), least=st.integers(0, 40), glue=st.integers(1, 3))
def test_chunks_of_any_text_are_sound(text: str, max_tokens: int, least: int, glue: int) -> None:
    counter = WordCounter(glue)
    spec = ChunkSpec(method="structure", max_tokens=max_tokens, min_tokens=min(least, max_tokens), rules=2)
    chunks = chunk_text(text, spec, counter)
    assert_sound(text, chunks, spec, counter)
    assert bool(chunks) == bool(text.strip())


def levels_of(text: str) -> dict[int, Level]:
    return {atom.start: atom.level for atom in outline_of(text).atoms}


SENTENCES = [
    "Alpha beta.",
    "One two! Three.",
    "See Fig. 3 below.",
    "今日は晴れ。明日は雨。",
    "ฉันไป ตลาด",
    "លោក។ អ្នក",
    "lower case",
]
PARAGRAPHS = [*SENTENCES, CODE, TABLE, LIST, "## Head", "Head\n----", "    code\n    more"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    paragraphs=st.lists(st.sampled_from(PARAGRAPHS), min_size=6, max_size=30),
    place=st.integers(0, 29),
    new=st.sampled_from(SENTENCES),
    seed=st.integers(0, 10**6),
)
def test_an_edit_moves_no_boundary_further_away_than_the_next_paragraph(
    paragraphs: list[str], place: int, new: str, seed: int
) -> None:
    place = place % len(paragraphs)
    # Lists go on in the paragraphs below them only if these are indented.
    before = "\n\n".join(["Start here.", *paragraphs])
    after = "\n\n".join(["Start here.", *paragraphs[:place], new, *paragraphs[place + 1 :]])
    head = len("\n\n".join(["Start here.", *paragraphs[:place]]))
    tail = len("\n\n".join(["", *paragraphs[place + 2 :]])) if place + 2 <= len(paragraphs) else 0
    old, now = levels_of(before), levels_of(after)
    assert {at: level for at, level in old.items() if at < head} == {
        at: level for at, level in now.items() if at < head
    }
    from_end = [
        {len(text) - at: level for at, level in levels.items() if len(text) - at < tail}
        for text, levels in ((before, old), (after, now))
    ]
    assert from_end[0] == from_end[1]


@pytest.mark.parametrize("unit", ["word", "今日は", "ฉันไป", "មនុស្ស", "လူတိုင်း"])
def test_an_edit_leaves_chunks_beyond_it_unchanged(unit: str) -> None:
    choice = random.Random(7)
    letters = [*unit, *"abcdefg"] if unit.isascii() else [*unit]
    paragraphs = [
        " ".join("".join(choice.choices(letters, k=choice.randrange(3, 12))) for _ in range(choice.randrange(4, 14)))
        for _ in range(150)
    ]
    changed = []
    old = {chunk.text for chunk in chunks_of("\n\n".join(paragraphs), 64)}
    for _ in range(20):
        place = choice.randrange(len(paragraphs))
        edited = [*paragraphs[:place], paragraphs[place][::-1], *paragraphs[place + 1 :]]
        after = chunks_of("\n\n".join(edited), 64)
        changed.append(sum(chunk.text not in old for chunk in after))
    assert len(old) > 30
    assert sum(count <= 4 for count in changed) >= 19 and max(changed) <= 8


UNBALANCED = [
    "```\n",
    "~~~x\n",
    "| a |\n",
    "| - |\n",
    "a|b\n-|-\n",
    "- ",
    "- a\n",
    "  - a\n\n",
    "1. a\n",
    "---\n",
    "a\n---\n\n",
]
UNBALANCED += [
    "# a\n\n",
    "|",
    "-|",
    "`",
    "ก",
    "กา ",
    "ក្ក",
    "က္က",
    "ໂກ",
    "人",
    "カー",
    "，",
    "。",
    "\u0f0b\u0f40",
    "\U0001f1e6",
]


def calls_while_cutting(text: str, counter: WordCounter) -> int:
    """Counts the functions called, those written in C too."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        chunk_text(text, ChunkSpec(method="structure", max_tokens=64, min_tokens=16, rules=2), counter)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("unit", UNBALANCED)
def test_work_grows_linearly_with_the_length(unit: str) -> None:
    characters, calls = list[int](), list[int]()
    for length in (4_000, 8_000, 16_000):
        counter = WordCounter()
        calls.append(calls_while_cutting("a" + unit * (length // len(unit)) + "a", counter))
        characters.append(counter.characters)
    assert characters[2] <= 2.2 * characters[1]
    # What a text costs whatever its length is in both.
    assert calls[2] - calls[1] <= 2.3 * (calls[1] - calls[0]) + 400


def nested(depth: int) -> str:
    return "".join(f"{'  ' * level}- item {level}\n" for level in range(depth))


def test_deep_nesting_costs_no_round_for_each_level() -> None:
    calls = [calls_while_cutting(nested(depth), WordCounter()) for depth in (50, 100, 200)]
    assert calls[2] - calls[1] <= 2.3 * (calls[1] - calls[0])
