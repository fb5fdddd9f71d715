"""Folder targets: what remains after a full disk, a kill or a manual change, and what readers see."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError
from tests.targets.exports import export, first, opened, runs_held
from tests.targets.readers import rows_in
from tests.targets.rows import DIMENSION, batch_of, ids_of, shape_of

ROOT = Path(__file__).parents[2]
IDS = ids_of(range(60))
FOLDERS = ("parquet", "faiss", "usearch")

_CHILD = """
import sys
from tests.targets.rows import batch_of, ids_of
from tests.targets.exports import export
{before}
try:
    export(sys.argv[1], [batch_of(ids_of(range(5, {last})), "r2")], ids_of(range(5)), full={full})
except Exception as error:
    print(type(error).__name__, error)
"""


def child(to: str, before: str, last: int, full: bool = False) -> tuple[int, str]:
    """Exports in a separate process to which something happens; returns its exit code and output."""
    code = _CHILD.format(before=before, last=last, full=full)
    done = subprocess.run([sys.executable, "-c", code, to], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:{tmp_path / 'target'}"


def path_of(to: str) -> Path:
    return Path(to.partition(":")[2])


# A full disk, simulated by a real limit on file size


# What no longer fits: the new rows, the next version of the existing data, or the last file of that version.
@pytest.mark.parametrize("limit", [2_000, 20_000, 70_000])
def test_a_full_disk_is_said_and_leaves_the_rows_that_were_there(folder: str, limit: int) -> None:
    first(folder, ids_of(range(2000)))
    before = rows_in(folder)
    few = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    code, said = child(folder, few, last=30)
    assert code == 0
    assert said.startswith(f"InputError the folder {path_of(folder)} cannot be written: ")
    assert "Free up disk space" in said
    assert rows_in(folder) == before
    export(folder, [batch_of(IDS[5:30], "r2")], IDS[:5])
    assert runs_held(folder) == dict.fromkeys(ids_of(range(5, 2000)), "r1") | dict.fromkeys(IDS[5:30], "r2")


@pytest.mark.parametrize("kind", ["lancedb", "qdrant"])
def test_a_full_disk_is_said_by_kinds_that_write_as_they_go_and_the_next_export_mends_it(
    kind: str, tmp_path: Path
) -> None:
    to = f"{kind}:{tmp_path / 'target'}#chunks"
    first(to, IDS)
    code, said = child(to, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))", last=1000)
    assert code == 0
    assert said.startswith("InputError")
    assert "Free up disk space" in said
    export(to, [batch_of(IDS[5:], "r2")], IDS[:5])
    assert {i: run for i, run in runs_held(to).items() if i in IDS} == dict.fromkeys(IDS[5:], "r2")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for kind in FOLDERS:
        with (
            pytest.raises(InputError, match=r"the folder .*file.* cannot be"),
            opened(f"{kind}:{tmp_path}/file") as target,
        ):
            target.prepare(shape_of(), False)
    with pytest.raises(InputError, match="cannot be"), opened(f"parquet:{tmp_path}/file/below") as target:
        target.prepare(shape_of(), False)
    with pytest.raises(InputError, match="cannot be read as a target: File name too long"):
        first(f"parquet:{tmp_path}/{'x' * 300}", IDS[:1])


# Kills


def killed_at(call: str) -> str:
    """Ends the process without any cleanup at the nth rename, replacement or deletion."""
    name, number = call.split()
    return f"""
import os, pathlib
left = {number}
real = pathlib.Path.{name}
def ending(*args, **more):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return real(*args, **more)
pathlib.Path.{name} = ending
"""


KILLS = [
    *(("parquet", False, f"replace {n}") for n in range(4)),
    *(("parquet", True, f"{call} {n}") for call in ("replace", "unlink") for n in range(3)),
    *(("parquet", True, f"replace {n}") for n in range(3, 8)),
    *(("faiss", False, where) for where in ("replace 0", "replace 1", "replace 2", "unlink 0", "unlink 1")),
]


@pytest.mark.parametrize(("kind", "full", "where"), KILLS)
def test_an_export_that_is_killed_within_its_renames_is_carried_on_or_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, full: bool, where: str
) -> None:
    to = f"{kind}:{tmp_path / 'target'}"
    monkeypatch.setattr("spark_jobs.targets.parquet.rows_per_file", lambda _: 20)
    few = "from spark_jobs.targets import parquet; parquet.rows_per_file = lambda _: 20\n"
    if full:
        # Where folders can be exchanged, these renames are not made; see test_switch.
        few += "from spark_jobs.targets import folder_exchange; folder_exchange.exchange = lambda *_: False\n"
    for start in range(0, 60, 20):
        export(to, [batch_of(IDS[start : start + 20], "r1")])
    code, _ = child(to, few + killed_at(where), last=40, full=full)
    assert code == 9
    with opened(to) as target:
        target.prepare(shape_of(), False)
        held = {row["chunk_id"]: row["run_id"] for batch in target.held() for row in batch.to_pylist()}
    new = dict.fromkeys(IDS[5:40], "r2") | ({} if full else dict.fromkeys(IDS[40:], "r1"))
    assert held in (dict.fromkeys(IDS, "r1"), new)
    assert runs_held(to) == held
    assert {i: row["run_id"] for i, row in rows_in(to).items()} == held
    export(to, [batch_of(IDS[5:40], "r2")], IDS[:5], full=full)
    assert runs_held(to) == new


# Readers


def test_a_reader_of_parquet_sees_rows_and_vectors_and_none_of_our_own_files(tmp_path: Path) -> None:
    first(f"parquet:{tmp_path / 'target'}", IDS)
    found = pyarrow.dataset.dataset(tmp_path / "target", format="parquet")
    assert found.schema.equals(shape_of().rows)
    assert found.to_table().sort_by("chunk_id") == pa.Table.from_batches([batch_of(sorted(IDS), "r1")])


def test_an_empty_export_has_its_columns(tmp_path: Path) -> None:
    export(f"parquet:{tmp_path / 'target'}")
    assert pyarrow.dataset.dataset(tmp_path / "target", format="parquet").schema.equals(shape_of().rows)


def test_only_files_with_changed_rows_are_written_again_and_a_row_stays_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_jobs.targets.parquet.rows_per_file", lambda _: 20)
    to, folder = f"parquet:{tmp_path / 'target'}", tmp_path / "target"
    first(to, IDS)

    def look() -> dict[str, tuple[int, list[str]]]:
        return {
            path.name: (path.stat().st_ino, pq.read_table(path).column("chunk_id").to_pylist())
            for path in folder.glob("*.parquet")
        }

    before = look()
    assert sorted(len(ids) for _, ids in before.values()) == [20, 20, 20]
    changed = before["part-000001.parquet"][1]
    export(to, [batch_of(changed[:2], "r2")], changed[5:6])
    after = look()
    assert {name for name in before if before[name] != after[name]} == {"part-000001.parquet"}
    assert set(after["part-000001.parquet"][1]) == {*changed} - {changed[5]}
    export(to)
    assert look() == after


def test_many_small_exports_leave_few_files(tmp_path: Path) -> None:
    to = f"parquet:{tmp_path / 'target'}"
    for start in range(0, 20, 2):
        export(to, [batch_of(IDS[start : start + 2], "r1")])
    assert len(list((tmp_path / "target").glob("*.parquet"))) == 1


def test_a_file_that_was_deleted_is_said_and_a_full_export_mends_it(tmp_path: Path) -> None:
    for kind, pattern in [("parquet", "part-*"), ("faiss", "rows-*"), ("faiss", "index-*"), ("usearch", "index-*")]:
        to, folder = f"{kind}:{tmp_path / kind}", tmp_path / kind
        export(to, [batch_of(IDS[:5], "r1")], full=True)
        for path in folder.glob(pattern):
            path.write_bytes(b"damaged")
        with pytest.raises(InputError, match=r"is missing or damaged\. Export with --full"):
            export(to, [batch_of(IDS[:2], "r2")], IDS[4:5])
        export(to, [batch_of(IDS[:5], "r3")], full=True)
        assert runs_held(to) == dict.fromkeys(IDS[:5], "r3")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    first(f"parquet:{tmp_path}/target", IDS[:2])
    with pytest.raises(InputError, match="is not a faiss export"):
        first(f"faiss:{tmp_path}/target", IDS[:2])


@pytest.mark.parametrize(
    "mark", [b"", b"{", b"[]", b"\xff", b'{"kind": "parquet"}', b'{"kind": "parquet", "embedlake": 2}']
)
def test_a_mark_that_is_none_is_refused(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "_embedlake.json").write_bytes(mark)
    with pytest.raises(InputError, match="Name a"):
        first(f"parquet:{tmp_path}", IDS[:2])
    assert (tmp_path / "_embedlake.json").read_bytes() == mark


def test_what_a_killed_first_export_left_is_no_obstacle(folder: str) -> None:
    staging = path_of(folder) / "_embedlake-staging"
    staging.mkdir(parents=True)
    (staging / "changes.arrow").write_bytes(b"half a row")
    first(folder, IDS[:2])
    assert not staging.exists()


# Index files and the rows next to them


@pytest.mark.parametrize("kind", ["faiss", "usearch"])
def test_a_chunk_keeps_its_key_and_no_key_is_given_out_twice(tmp_path: Path, kind: str) -> None:
    to, folder = f"{kind}:{tmp_path / 'target'}", tmp_path / "target"

    def keys() -> dict[str, int]:
        mark = json.loads((folder / "_embedlake.json").read_bytes())
        table = pq.read_table(folder / mark["rows"])
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            ["_embedlake.json", mark["rows"], mark["index"]]
        )
        return dict(zip(table.column("chunk_id").to_pylist(), table.column("_key").to_pylist(), strict=True))

    first(to, IDS[:10])
    before = keys()
    export(to, [batch_of([*IDS[5:8], *IDS[10:12]], "r2")], [*IDS[:2], IDS[9]])
    after = keys()
    assert {i: after[i] for i in IDS[2:9]} == {i: before[i] for i in IDS[2:9]}
    assert sorted(after[i] for i in IDS[10:12]) == [10, 11]
    export(to, [batch_of(IDS[:2], "r3")])
    assert sorted(keys()[i] for i in IDS[:2]) == [12, 13]


def test_the_file_of_faiss_is_read_without_embedlake(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    first(f"faiss:{tmp_path / 'target'}", IDS)
    index = faiss.read_index(str(tmp_path / "target" / "index-1.faiss"))
    rows = pq.read_table(tmp_path / "target" / "rows-1.parquet").to_pylist()
    asked = np.array(batch_of(IDS[7:8], "r1").column("embedding").to_pylist(), dtype=np.float32)
    scores, found = index.search(asked, 1)
    assert {row["_key"]: row["chunk_id"] for row in rows}[found[0][0]] == IDS[7]
    assert scores[0][0] == pytest.approx(1)


def test_the_file_of_usearch_is_read_without_embedlake(tmp_path: Path) -> None:
    usearch = pytest.importorskip("usearch.index")
    first(f"usearch:{tmp_path / 'target'}", IDS)
    index = usearch.Index.restore(str(tmp_path / "target" / "index-1.usearch"))
    rows = pq.read_table(tmp_path / "target" / "rows-1.parquet").to_pylist()
    asked = np.array(batch_of(IDS[7:8], "r1").column("embedding").to_pylist(), dtype=np.float32)
    found = index.search(asked[0], 1)
    assert {row["_key"]: row["chunk_id"] for row in rows}[int(found.keys[0])] == IDS[7]
    assert float(found.distances[0]) == pytest.approx(0, abs=1e-6)
    assert (index.ndim, DIMENSION) == (DIMENSION, 8)
