"""What a worker makes of files: rows of what was read, whatever happens to a file meanwhile."""

import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import InputError
from schemas.reasons import TOO_LARGE, UNPARSABLE
from udfs import parse_files as skin
from udfs.parse_files import ParseSpec, check_parser, parse_files
from udfs.parsing.parse import PARSER_VERSION
from udfs.parsing.parsed import Limits, Parsed


class Parser:
    """Stands in for the child process: what a document becomes is not the subject here."""

    started = 0

    def __init__(self, limits: Limits) -> None:
        assert (limits.seconds, limits.memory_bytes) == (5.0, 2**29)

    def __enter__(self) -> "Parser":
        Parser.started += 1
        return self

    def __exit__(self, *_: object) -> None:
        Parser.started -= 1

    def parse(self, content: bytes, name: str) -> Parsed:
        if content.startswith(b"\xff"):
            return Parsed(None, "application/octet-stream", None, (), None, {}, UNPARSABLE)
        if content == b"slow":
            return Parsed(None, "text/plain", None, (), None, {}, "parser_timeout", "5 s")
        return Parsed(content.decode(), "text/plain", "T\ud800", (0, 3), "en", {"author": "Ada", "k\udfff": "v"})


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(skin, "BoundedParser", Parser)
    monkeypatch.setattr(skin, "need_packages", lambda: None)
    yield
    assert Parser.started == 0


def spec(root: Path, **values: Any) -> ParseSpec:
    known = {
        **{"root": str(root), "is_file": False, "seen_at": int(time.time() * 1e6), "version": PARSER_VERSION},
        **{"limited": "limited", "limits": (TOO_LARGE, "parser_timeout"), "seconds": 5.0, "megabytes": 512},
        "known": frozenset(),
    }
    return ParseSpec(**{**known, **values})


def parsed(spec: ParseSpec, *paths: str) -> dict[str, dict[str, Any]]:
    batch = pa.RecordBatch.from_pylist([{"path": path} for path in paths])
    return {row["path"]: row for found in parse_files(spec)(iter([batch])) for row in found.to_pylist()}


def test_a_file_becomes_its_text_and_what_it_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b#%?*[1]:\n\N{OWL}.txt").write_bytes(b"Owls.")
    os.utime(tmp_path / "sub" / "a b#%?*[1]:\n\N{OWL}.txt", ns=(0, 1_500_000_123_456_789))
    row = parsed(spec(tmp_path), "sub/a b#%?*[1]:\n\N{OWL}.txt")["sub/a b#%?*[1]:\n\N{OWL}.txt"]
    assert row["content_hash"] == hashlib.sha256(b"Owls.").hexdigest()
    assert (row["size"], int(row["modified"].timestamp() * 1e6)) == (5, 1_500_000_123_456)
    assert (row["text"], row["characters"], row["pages"], row["page_count"]) == ("Owls.", 5, [0, 3], 2)
    # No column of text takes half a character.
    assert (row["title"], dict(row["metadata"])) == ("T?", {"author": "Ada", "k?": "v"})
    assert (row["author"], row["parser"], row["is_racy"], row["is_known"], row["_refused"]) == (
        *("Ada", PARSER_VERSION, False, False),
        None,
    )
    assert parsed(spec(tmp_path / "sub" / "a b#%?*[1]:\n\N{OWL}.txt", is_file=True), "x")["x"]["text"] == "Owls."


def test_what_cannot_be_parsed_has_a_reason_and_a_limit_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff")
    (tmp_path / "slow").write_bytes(b"slow")
    rows = parsed(spec(tmp_path), "bad", "slow")
    assert rows["bad"]["_refused"]["reason"] == UNPARSABLE and rows["bad"]["_refused"]["detail"]
    assert (rows["bad"]["parser"], rows["slow"]["parser"]) == (PARSER_VERSION, "limited")
    assert rows["slow"]["_refused"] == {"reason": "parser_timeout", "detail": "5 s"}
    assert rows["bad"]["text"] is rows["bad"]["characters"] is None


def test_a_file_that_is_known_or_too_large_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skin, "MAX_BYTES", 10)
    monkeypatch.setattr(Parser, "parse", None)
    (tmp_path / "known").write_bytes(b"Owls.")
    (tmp_path / "large").write_bytes(b"m" * 11)
    rows = parsed(spec(tmp_path, known=frozenset([hashlib.sha256(b"Owls.").digest()])), "known", "large")
    assert (rows["known"]["is_known"], rows["known"]["text"]) == (True, None)
    assert (rows["large"]["_refused"]["reason"], rows["large"]["content_hash"]) == (TOO_LARGE, None)


def test_what_is_no_file_any_more_is_gone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    names = ("folder", "none", "file/below", "pipe", "nowhere")
    assert {name: row["is_gone"] for name, row in parsed(spec(tmp_path), *names).items()} == dict.fromkeys(names, True)


def test_a_folder_that_a_worker_does_not_have_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Mount it on every machine"):
        parsed(spec(tmp_path / "elsewhere"), "a")


def test_a_file_that_cannot_be_read_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    with pytest.raises(InputError, match=r"the file itself cannot be read: .*\. Repair"):
        parsed(spec(tmp_path), "itself")


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, ns=(0, 10**18))
    now = spec(tmp_path)
    assert not parsed(now, "a")["a"]["is_racy"]
    told, calls = os.fstat, itertools.count()

    def changing(handle: int) -> os.stat_result:
        if next(calls) == 1:
            os.utime(path, ns=(0, 10**18 + 1))
        return told(handle)

    monkeypatch.setattr(skin.os, "fstat", changing)
    assert parsed(now, "a")["a"]["is_racy"]


def test_a_file_of_the_moment_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    assert parsed(spec(tmp_path), "a")["a"]["is_racy"]


def test_contents_that_spark_has_read_are_not_read_again(tmp_path: Path) -> None:
    modified = pa.array([10**15], pa.timestamp("us", "UTC"))
    columns = {"path": ["a"], "size": [5], "modified": modified, "content": [b"Owls."]}
    found = next(parse_files(spec(tmp_path))(iter([pa.record_batch(columns)]))).to_pylist()[0]
    assert (found["text"], found["size"], found["is_racy"]) == ("Owls.", 5, False)
    shorter = pa.record_batch({**columns, "size": [4]})
    assert next(parse_files(spec(tmp_path))(iter([shorter]))).to_pylist()[0]["is_racy"]


def test_another_parser_on_an_executor_is_refused() -> None:
    batch = pa.record_batch({"id": [1]})
    assert list(check_parser(PARSER_VERSION)(iter([batch]))) == [batch]
    with pytest.raises(InputError, match="Install the same packages everywhere"):
        list(check_parser("other")(iter([batch])))
