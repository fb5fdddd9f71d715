"""What Spark would leave out of a folder is counted, and what it could not read is named."""

import os
from pathlib import Path

import pytest

from spark_jobs.sources.local_folder import Listing, list_folder


def made(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("text")
    return root


def test_names_that_spark_passes_over_are_counted_with_what_is_below_them(tmp_path: Path) -> None:
    read = ("a.txt", "year_/b.txt", "_year=2026/c.txt", "d._e", "_metadata/m.txt")
    hidden = (
        "_draft.txt",
        "_drafts/old/d.txt",
        ".notes/e.txt",
        "sub/.f.txt",
        "g.txt._COPYING_",
        "_drafts/.h",
        "_metadata.txt",
    )
    of_tools = ("_SUCCESS", ".a.txt.crc", ".git/config", "sub/_delta_log/0.json", ".DS_Store", "_temporary/0/i.txt")
    listing = list_folder(str(made(tmp_path, *read, *hidden, *of_tools)))
    assert (listing.read, listing.passed_over) == (len(read), len(hidden))
    assert listing.faults() == []


@pytest.mark.parametrize(("name", "read"), [("a.txt", 1), ("_a.txt", 0), (".a.txt", 0)])
def test_a_single_file_is_passed_over_for_its_own_name(tmp_path: Path, name: str, read: int) -> None:
    listing = list_folder(str(made(tmp_path, name) / name))
    assert (listing.read, listing.passed_over) == (read, 1 - read)


def test_a_folder_with_a_hidden_name_is_read_if_it_is_the_source_itself(tmp_path: Path) -> None:
    assert list_folder(str(made(tmp_path / "_docs", "a.txt"))).read == 1


def test_links_are_followed_and_those_that_lead_back_are_named(tmp_path: Path) -> None:
    root, elsewhere = made(tmp_path / "root", "in/a.txt"), made(tmp_path / "elsewhere", "b.txt", "c/d.txt")
    (root / "out").symlink_to(elsewhere)
    (root / "again").symlink_to(root / "in")
    (root / "nowhere").symlink_to(root / "none")
    (root / "itself").symlink_to(root / "itself")
    assert list_folder(str(root)).faults() == []
    assert list_folder(str(root)).read == 4
    (root / "in" / "up").symlink_to(root)
    (elsewhere / "c" / "back").symlink_to(elsewhere)
    # A link to what contains the source leads back to it too.
    (root / "over").symlink_to(tmp_path)
    listing = list_folder(str(root))
    assert sorted(listing.loops) == [
        os.fsencode(root / name) for name in ("again/up", "in/up", "out/c/back", "over/elsewhere/c/back", "over/root")
    ]
    assert "again and again: " + str(root / "again" / "up") in listing.faults()[0]


def test_names_in_other_encodings_are_named_and_those_beyond_ascii_counted(tmp_path: Path) -> None:
    made(tmp_path, "a.txt", "Überall.md", "größe/b.txt")
    listing = list_folder(str(tmp_path))
    assert (listing.read, listing.beyond_ascii, listing.faults()) == (3, 2, [])
    latin = os.fsencode(tmp_path) + b"/gr\xf6\xdfe.txt"
    with open(latin, "w"):
        pass
    (fault,) = list_folder(str(tmp_path)).faults()
    assert f"{tmp_path}/gr\\xf6\\xdfe.txt. Rename" in fault


def test_files_that_may_not_be_read_are_named_up_to_five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, *(f"{number}.txt" for number in range(7)), "good.txt", "_hidden.txt")
    # The right to read is not taken from root, so the answer of the system is.
    monkeypatch.setattr(os, "access", lambda path, _: path.endswith(b"good.txt"))
    listing = list_folder(str(tmp_path))
    names = ", ".join(str(tmp_path / f"{number}.txt") for number in range(5))
    assert listing.faults() == [
        f"this user may not read {names} and 2 more. Give it the right to read, or move them elsewhere."
    ]


def test_the_state_is_another_one_once_a_file_that_is_read_comes_goes_or_is_written(tmp_path: Path) -> None:
    made(tmp_path, "a.txt", "sub/b.txt", "_draft.txt")
    states = [list_folder(str(tmp_path)).state]

    def is_new() -> bool:
        states.append(list_folder(str(tmp_path)).state)
        return states[-1] not in states[:-1]

    assert not is_new()
    (tmp_path / "_draft.txt").write_text("another text")
    os.utime(tmp_path / "sub")
    assert not is_new()
    (tmp_path / "a.txt").write_text("longer text")
    assert is_new()
    # As long and as old as the one before, as `cp --preserve` and `rsync --times` make it.
    old = (tmp_path / "a.txt").stat()
    (tmp_path / "copy").write_text("other text.")
    os.utime(tmp_path / "copy", ns=(old.st_atime_ns, old.st_mtime_ns))
    (tmp_path / "copy").replace(tmp_path / "a.txt")
    assert is_new()
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    assert is_new()
    (tmp_path / "sub" / "b.txt").unlink()
    assert is_new()
    single = list_folder(str(tmp_path / "c.txt")).state
    (tmp_path / "c.txt").write_text("a text of its own")
    assert list_folder(str(tmp_path / "c.txt")).state != single


def test_a_listing_without_files_has_no_faults() -> None:
    assert Listing().faults() == []


def test_files_are_listed_with_size_and_time_and_others_are_as_if_not_there(tmp_path: Path) -> None:
    made(tmp_path, "a.md", "sub/\N{OWL}.md", "_draft.md", "b.txt", "_c.txt")
    os.utime(tmp_path / "a.md", ns=(0, 1_500_000_000_123_456_789))
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "gone.md").symlink_to(tmp_path / "none")
    listing = list_folder(str(tmp_path), lambda name: name.endswith(b".md"))
    found = {path: (size, modified) for path, size, modified in listing.files}
    assert set(found) == {b"a.md", "sub/\N{OWL}.md".encode()}
    assert found[b"a.md"] == (4, 1_500_000_000_123_456)
    assert (listing.read, listing.passed_over) == (2, 1)
    before = listing.state
    (tmp_path / "b.txt").unlink()
    assert list_folder(str(tmp_path), lambda name: name.endswith(b".md")).state == before
    assert list_folder(str(tmp_path)).files == []
