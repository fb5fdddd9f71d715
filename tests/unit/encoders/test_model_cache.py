"""The folder of converted models: private, checked, atomic, bounded, and never the reason for a failure."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from udfs.encoders import model_cache
from udfs.encoders.model_cache import (
    DamagedError,
    NoCacheError,
    describe,
    digest_of,
    keep,
    new_entry,
    open_cache,
    read_choice,
    read_entry,
    write_choice,
)

KEY: dict[str, Any] = {"digest": "0a", "dtype": "float32", "versions": {"openvino": "1"}, "cores": 2}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return open_cache(str(tmp_path / "cache"))


def add(cache: Path, key: dict[str, Any] = KEY, weights: bytes = b"weights", **options: Any) -> Path:
    with new_entry(cache) as folder:
        folder.joinpath("model.bin").write_bytes(weights)
        folder.joinpath("model.xml").write_bytes(b"<net/>")
        describe(folder, key, {"inputs": ["ids"]})
        keep(cache, folder, key, **options)
    return cache / digest_of(key)


def weights_of(cache: Path, key: dict[str, Any] = KEY) -> bytes | None:
    found = read_entry(cache, key)
    return found[0]["model.bin"].tobytes() if found is not None else None


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_an_entry_is_read_as_it_was_written_and_others_have_keys_of_their_own(cache: Path) -> None:
    assert read_entry(cache, KEY) is None
    add(cache)
    files, facts = read_entry(cache, KEY) or ({}, {})
    assert {name: content.tobytes() for name, content in files.items()} == {
        "model.bin": b"weights",
        "model.xml": b"<net/>",
    }
    assert facts == {"inputs": ["ids"]}
    assert names(cache) == [digest_of(KEY)], "nothing else is left behind"
    others = ({"dtype": "bfloat16"}, {"versions": {"openvino": "2"}}, {"digest": "0b"}, {"cores": 4})
    assert [read_entry(cache, {**KEY, **other}) for other in others] == [None] * 4
    assert len({digest_of({**KEY, **other}) for other in others}) == 4


@pytest.mark.parametrize("name", ["model.bin", "model.xml", "entry.json"])
@pytest.mark.parametrize("fault", ["changed", "cut", "gone", "linked"])
def test_an_entry_that_is_not_what_was_written_is_refused_and_removed(cache: Path, name: str, fault: str) -> None:
    folder = add(cache)
    file = folder / name
    content = file.read_bytes()
    if fault == "linked":
        folder.parent.joinpath("elsewhere").write_bytes(content)
    file.unlink()
    if fault == "linked":
        file.symlink_to(folder.parent / "elsewhere")
    elif fault != "gone":
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:] if fault == "changed" else content[:-1])
    with pytest.raises(DamagedError, match=rf"{name} (has another digest|cannot be read)"):
        read_entry(cache, KEY)
    assert not folder.exists()
    assert read_entry(cache, KEY) is None
    add(cache)
    assert weights_of(cache) == b"weights"


def test_a_description_of_another_model_is_refused(cache: Path) -> None:
    folder = add(cache)
    folder.rename(cache / digest_of({**KEY, "dtype": "bfloat16"}))
    with pytest.raises(DamagedError, match="describes another model"):
        read_entry(cache, {**KEY, "dtype": "bfloat16"})


def test_the_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    found = open_cache(str(tmp_path / "a" / "b"))
    assert (found, found.stat().st_mode & 0o777) == (tmp_path / "a" / "b", 0o700)


def test_the_folder_of_the_user_is_where_others_put_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_cache(None) == tmp_path / "xdg" / "embedlake"
    # A relative path is no cache by the specification of these folders.
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_cache(None) == tmp_path / "home" / ".cache" / "embedlake"
    assert open_cache("~/models") == tmp_path / "home" / "models"


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(NoCacheError, match="is a link, not a folder"):
        open_cache(str(link))
    for mode in (0o770, 0o702):
        folder.chmod(mode)
        with pytest.raises(NoCacheError, match="can be written by others"):
            open_cache(str(folder))
    folder.chmod(0o755)
    assert open_cache(str(folder)) == folder
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(NoCacheError, match="belongs to somebody else"):
        open_cache(str(folder))


def test_a_folder_that_cannot_be_made_or_is_off_is_no_cache(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    for setting, reason in ((f"{tmp_path}/file/cache", "cannot be created"), ("off", "is off")):
        with pytest.raises(NoCacheError, match=reason):
            open_cache(setting)


def test_a_full_disk_leaves_nothing_behind(cache: Path) -> None:
    before = getrlimit(RLIMIT_FSIZE)
    # The system refuses longer files, as it does when the disk is full.
    setrlimit(RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            add(cache, weights=bytes(2000))
        write_choice(cache, KEY, {"backend": "x" * 2000})
    finally:
        setrlimit(RLIMIT_FSIZE, before)
    assert read_entry(cache, KEY) is None
    assert read_choice(cache, KEY) is None
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_the_entries_that_were_used_least_go_when_there_are_too_many(cache: Path) -> None:
    keys = [{**KEY, "digest": str(number)} for number in range(4)]
    for age, key in enumerate(keys[:3]):
        os.utime(add(cache, key, bytes(10_000)), (1000 + age, 1000 + age))
    assert weights_of(cache, keys[0]) == bytes(10_000), "which makes it the newest"
    add(cache, keys[3], bytes(10_000), most_bytes=32_000)
    assert [weights_of(cache, key) is not None for key in keys] == [True, False, True, True]
    with pytest.raises(OSError, match="it is larger than 0 MiB"):
        add(cache, {**KEY, "digest": "large"}, bytes(40_000), most_bytes=32_000)
    assert [weights_of(cache, key) is not None for key in keys] == [True, False, True, True]


def test_what_a_dead_process_left_goes_after_a_day_and_what_a_live_one_prepares_stays(cache: Path) -> None:
    for name, hours in ((".new-dead", 25), (".new-alive", 1)):
        cache.joinpath(name).mkdir()
        cache.joinpath(name, "model.bin").write_bytes(b"half")
        os.utime(cache / name, (time.time() - 3600 * hours,) * 2)
    add(cache)
    assert names(cache) == [".new-alive", digest_of(KEY)]


def test_choices_are_remembered_by_their_key_and_damaged_ones_are_forgotten(cache: Path) -> None:
    write_choice(cache, KEY, {"backend": "torch"})
    write_choice(cache, {**KEY, "cores": 4}, {"backend": "openvino"})
    assert [read_choice(cache, {**KEY, "cores": cores}) for cores in (2, 4, 8)] == [
        {"backend": "torch"},
        {"backend": "openvino"},
        None,
    ]
    (file,) = [path for path in cache.joinpath("choices").iterdir() if path.stem == digest_of(KEY)]
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "body": {**written["body"], "choice": {"backend": "openvino"}}}))
    assert read_choice(cache, KEY) is None
    assert not file.exists()
    assert read_choice(cache, {**KEY, "cores": 4}) == {"backend": "openvino"}


_WRITER = """
import sys
from pathlib import Path
from udfs.encoders.model_cache import *
from udfs.encoders.model_cache import _remove
cache, key = Path(sys.argv[1]), {"digest": "shared"}
for number in range(200):
    with new_entry(cache) as folder:
        (folder / "model.bin").write_bytes(sys.argv[2].encode() * (1 + 5000 * (number % 20)))
        describe(folder, key, {"writer": sys.argv[2]})
        if "die" in sys.argv:
            import os
            os._exit(7)
        keep(cache, folder, key)
    if number % 3 == 0:
        _remove(cache / digest_of(key))
"""


def writer(cache: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", _WRITER, str(cache), *arguments], env=environment)


def test_two_workers_write_and_a_third_one_never_reads_half_an_entry(cache: Path) -> None:
    writers = [writer(cache, name) for name in "ab"]
    seen = set()
    while any(process.poll() is None for process in writers):
        found = read_entry(cache, {"digest": "shared"})
        if found is not None:
            content = set(found[0]["model.bin"].tobytes().decode())
            assert content == {found[1]["writer"]}
            seen |= content
    assert [process.returncode for process in writers] == [0, 0]
    assert seen == {"a", "b"}
    assert names(cache) in ([], [digest_of({"digest": "shared"})])


def test_a_worker_that_dies_while_it_writes_leaves_no_entry(cache: Path) -> None:
    assert writer(cache, "a", "die").wait() == 7
    assert read_entry(cache, {"digest": "shared"}) is None
    assert [name.startswith(".new-") for name in names(cache)] == [True]


def test_what_was_compared_is_what_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is read once: one that changes after its digest was taken would decide vectors otherwise."""
    folder, read = add(cache), []
    original = model_cache._content

    def noted(opened: int, name: str) -> np.ndarray:
        read.append(name)
        content = original(opened, name)
        if name == "model.bin":
            folder.joinpath(name).write_bytes(b"others")
        return content

    monkeypatch.setattr(model_cache, "_content", noted)
    assert weights_of(cache) == b"weights"
    assert sorted(read) == ["entry.json", "model.bin", "model.xml"]
    assert folder.joinpath("model.bin").read_bytes() == b"others"
