"""A target that changes from one space of a library to another: at once, without a mix, and wherever it is killed."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.dataset
import pytest
from psycopg import sql
from qdrant_client import QdrantClient, models

from schemas.errors import InputError
from spark_jobs.targets import folder_exchange, qdrant_collections
from spark_jobs.targets.qdrant import QdrantTarget
from spark_jobs.targets.stamp import stamp_of
from spark_jobs.targets.target import RowFormat, Target
from tests.targets.conftest import KINDS
from tests.targets.exports import export, first, opened, runs_held
from tests.targets.readers import rows_in
from tests.targets.rows import DIMENSION, LANGUAGE, batch_of, ids_of, shape_of, vector_of

ROOT = Path(__file__).parents[2]
IDS = ids_of(range(40))
# Chunks of two spaces can have the same ids, because ids come from the texts.
OLD, NEW = IDS[:30], IDS[20:40]


def next_shape(payload: Any = (LANGUAGE,), dimension: int = DIMENSION) -> RowFormat:
    """The rows of another space, which knows that this store exported table t1."""
    shape = shape_of(payload, dimension, "embedlake toy.next bbbb", "t2")
    return replace(shape, earlier_tables=frozenset({"t1"}))


SHAPES = {
    "same columns": next_shape(),
    "another dimension": next_shape(dimension=DIMENSION + 1),
    "other columns": next_shape([pa.field("year", pa.int32())], DIMENSION * 2),
}


def switch(to: str, shape: RowFormat | None = None, ids: list[str] = NEW, run: str = "n1") -> None:
    shape = shape or next_shape()
    assert export(to, [batch_of(ids, run, shape)], shape=shape) is False


def seen_runs(to: str, target: Target) -> dict[str, str]:
    """What readers see while an export is at work."""
    if not isinstance(target, QdrantTarget):
        return {i: row["run_id"] for i, row in rows_in(to).items()}
    # Local mode allows one client at a time.
    assert target._client is not None
    points, _ = target._client.scroll("chunks", limit=1000)
    return {str(point.id): str((point.payload or {})["run_id"]) for point in points}


def leftovers(to: str) -> list[str]:
    """Names what exports leave beside a target."""
    folder = Path(to.partition(":")[2].partition("#")[0])
    if to.startswith("postgresql"):
        found = asked("SELECT relname FROM pg_class WHERE relname ~ '^embedlake_[0-9a-f]{32}$' AND relkind = 'r'")
        return [name for (name,) in found]
    if to.startswith("qdrant"):
        client = QdrantClient(path=str(folder))
        named = {one.collection_name for one in client.get_aliases().aliases}
        found = [one.name for one in client.get_collections().collections if one.name not in {*named, "chunks"}]
        client.close()
        return found
    beside = [path.name for path in folder.parent.iterdir() if path.name.startswith(".embedlake")]
    if to.startswith("lancedb"):
        beside += [path.name for path in folder.iterdir() if path.name != "chunks.lance"]
    return beside + [path.name for path in folder.glob("_embedlake-staging*")]


def asked(query: str | sql.Composable, *values: Any, **connecting: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dbname="postgres", autocommit=True, **connecting) as connection:
        cursor = connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


# What is there before and after


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_new_rows_replace_all_old_ones_when_the_export_is_finished(to: str, shape: RowFormat) -> None:
    first(to, OLD)
    with opened(to) as target:
        assert target.prepare(shape, False) is False
        target.send([batch_of(NEW, "n0", shape), batch_of(NEW[:5], "n1", shape)])
        target.remove([pa.array(NEW[-2:])])
        assert seen_runs(to, target) == dict.fromkeys(OLD, "r1")
        target.finish()
        expected = dict.fromkeys(NEW[:5], "n1") | dict.fromkeys(NEW[5:-2], "n0")
        assert seen_runs(to, target) == expected
        assert target.count() == len(expected)
        vectors = np.stack([vector_of(NEW[7], "n0", shape.dimension)])
        assert target.nearest(vectors, 1) == [[NEW[7]]]
    assert set(next(iter(rows_in(to).values()))) == set(shape.rows.names) - {"embedding"}
    assert leftovers(to) == []
    assert export(to, [batch_of(NEW[:1], "n2", shape)], shape=shape) is True
    assert runs_held(to) == expected | {NEW[0]: "n2"}


def test_a_target_can_be_switched_back_and_to_a_space_without_rows(to: str) -> None:
    first(to, OLD)
    switch(to)
    back = replace(shape_of(), earlier_tables=frozenset({"t2"}))
    assert export(to, [batch_of(OLD, "r2")], shape=back) is False
    assert runs_held(to) == dict.fromkeys(OLD, "r2")
    switch(to, ids=[])
    assert runs_held(to) == {} and rows_in(to) == {}
    with opened(to) as target:
        stamp = target.stamp()
    assert isinstance(stamp, dict) and (stamp["owner"], stamp["table"]) == ("embedlake toy.next bbbb", "t2")


def test_a_full_export_switches_too(to: str) -> None:
    first(to, OLD)
    shape = SHAPES["another dimension"]
    assert export(to, [batch_of(NEW, "n1", shape)], shape=shape, full=True) is False
    assert runs_held(to) == dict.fromkeys(NEW, "n1")
    assert leftovers(to) == []


# Whose rows are replaced


STRANGERS = {
    "another library": (
        replace(next_shape(), owner="embedlake other.next bbbb"),
        "belongs to `embedlake toy.main`, not",
    ),
    "another store": (
        replace(next_shape(), earlier_tables=frozenset({"t7"})),
        "belongs to `embedlake toy.main`, of which this store has no export on record, not to `embedlake toy.next`",
    ),
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("whose", STRANGERS)
def test_rows_of_somebody_else_stay(to: str, whose: str, full: bool) -> None:
    first(to, OLD)
    shape, said = STRANGERS[whose]
    with pytest.raises(InputError, match=said):
        export(to, [batch_of(NEW, "n1", shape)], shape=shape, full=full)
    assert runs_held(to) == dict.fromkeys(OLD, "r1")
    assert export(to) is True


def test_a_target_of_an_earlier_version_is_known_by_the_export_to_it(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ("parquet", "index", "lance", "qdrant_collections", "postgresql.table")
    with monkeypatch.context() as earlier:
        for place in places:
            earlier.setattr(f"spark_jobs.targets.{place}.stamp_of", without_table)
        first(to, OLD)
    with pytest.raises(InputError, match="of which this store has no export on record"):
        switch(to)
    assert runs_held(to) == dict.fromkeys(OLD, "r1")
    known = replace(next_shape(), earlier_owners=frozenset({"embedlake toy.main aaaa"}))
    switch(to, known)
    assert runs_held(to) == dict.fromkeys(NEW, "n1")


def without_table(row_format: RowFormat) -> dict[str, object]:
    return {key: value for key, value in stamp_of(row_format).items() if key != "table"}


# Kills


_CHILD = """
import os, sys
from tests.targets.rows import batch_of
from tests.targets.exports import export
from tests.targets.test_switch import NEW, next_shape, ends_at
ends_at(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after")
shape = next_shape()
export(sys.argv[1], [batch_of(NEW, "n1", shape)], shape=shape)
"""
_FOLDERS = "pathlib.Path.replace", "pathlib.Path.unlink"
_EXCHANGE = "spark_jobs.targets.folder_exchange.exchange"
_LANCE, _QDRANT = "lancedb.db.LanceDBConnection.", "qdrant_client.local.qdrant_local.QdrantLocal."
# The call at which the process ends, by its number, and whether before or after it.
KILLS = [
    *(("parquet", "pathlib.Path.replace", n, "before") for n in range(2)),
    ("parquet", _EXCHANGE, 0, "before"),
    ("parquet", _EXCHANGE, 0, "after"),
    *((kind, name, n, "before") for kind in ("faiss", "usearch") for name in _FOLDERS for n in range(2)),
    ("lancedb", "lancedb.table.LanceMergeInsertBuilder.execute", 0, "after"),
    ("lancedb", _LANCE + "create_table", 0, "after"),
    ("lancedb", _LANCE + "create_table", 1, "before"),
    ("lancedb", _LANCE + "create_table", 1, "after"),
    ("lancedb", _LANCE + "drop_table", 1, "after"),
    ("qdrant", _QDRANT + "create_collection", 0, "after"),
    ("qdrant", _QDRANT + "upsert", 0, "after"),
    ("qdrant", _QDRANT + "update_collection", 0, "after"),
    ("qdrant", _QDRANT + "update_collection_aliases", 0, "before"),
    ("qdrant", _QDRANT + "update_collection_aliases", 0, "after"),
    ("qdrant", _QDRANT + "delete_collection", 0, "after"),
    ("postgresql", "spark_jobs.targets.postgresql.target.PostgresqlTarget.send", 0, "after"),
    ("postgresql", "spark_jobs.targets.postgresql.target.replace_table", 0, "after"),
    ("postgresql", "psycopg.Connection.commit", 0, "after"),
]


def ends_at(name: str, number: int, is_after: bool) -> None:
    """Ends this process without any cleanup around the nth call of a function."""
    import importlib

    parts = name.split(".")
    depth = next(n for n in range(len(parts) - 1, 0, -1) if _is_module(".".join(parts[:n])))
    holder: Any = importlib.import_module(".".join(parts[:depth]))
    for part in parts[depth:-1]:
        holder = getattr(holder, part)
    real, left = getattr(holder, parts[-1]), [number]

    def ending(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 and not is_after:
            os._exit(9)
        result = real(*args, **more)
        if left[0] < 0:
            os._exit(9)
        return result

    setattr(holder, parts[-1], ending)


def _is_module(name: str) -> bool:
    import importlib

    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize(("kind", "name", "number", "when"), KILLS)
def test_a_switch_that_is_killed_leaves_one_of_the_two_whole_and_the_next_export_finishes(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, name: str, number: int, when: str
) -> None:
    to = f"{kind}:{tmp_path / 'target'}" + ("#chunks" if kind in ("lancedb", "qdrant") else "")
    if kind == "postgresql":
        to = request.getfixturevalue("postgresql_table")
    first(to, OLD)
    code = subprocess.run([sys.executable, "-c", _CHILD, to, name, str(number), when], cwd=ROOT, check=False).returncode
    assert code == 9
    assert {i: row["run_id"] for i, row in rows_in(to).items()} in (
        dict.fromkeys(OLD, "r1"),
        dict.fromkeys(NEW, "n1"),
    )
    shape = next_shape()
    export(to, [batch_of(NEW, "n2", shape)], shape=shape)
    assert runs_held(to) == dict.fromkeys(NEW, "n2")
    assert leftovers(to) == []


# Readers that ask again and again


@contextmanager
def reading(read: Callable[[], tuple[int, frozenset[str]]]) -> Iterator[list[tuple[int, frozenset[str]]]]:
    """Reads in a thread until the block ends; yields what is seen: number of rows and runs. An error is raised."""
    seen: list[tuple[int, frozenset[str]]] = []
    faults: list[BaseException] = []
    has_ended = threading.Event()

    def loop() -> None:
        try:
            while not has_ended.is_set():
                seen.append(read())
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield seen
    finally:
        # The switch is over: one more reading.
        count = len(seen)
        while len(seen) < count + 2 and not faults:
            thread.join(0.01)
        has_ended.set()
        thread.join()
    if faults:
        raise faults[0]


def reader_of(to: str) -> Callable[[], tuple[int, frozenset[str]]]:
    folder = Path(to.partition(":")[2].partition("#")[0])

    def parquet() -> tuple[int, frozenset[str]]:
        # Readers of several files have to look again if one of those that they listed is gone.
        for _ in range(100):
            try:
                return _seen(pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pylist())
            except FileNotFoundError:
                continue
        raise AssertionError("the folder has no files for long")

    def index() -> tuple[int, frozenset[str]]:
        for _ in range(100):
            try:
                return _seen(list(rows_in(to).values()))
            except FileNotFoundError:
                continue
        raise AssertionError("the pair is missing for long")

    return {"parquet": parquet, "faiss": index, "usearch": index}.get(
        to.partition(":")[0], lambda: _seen(list(rows_in(to).values()))
    )


def _seen(rows: list[dict[str, Any]]) -> tuple[int, frozenset[str]]:
    return len(rows), frozenset(row["run_id"] for row in rows)


@pytest.mark.parametrize("shape", [SHAPES["same columns"], SHAPES["another dimension"]], ids=["same", "wider"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "qdrant"])
def test_readers_in_a_loop_see_no_error_and_no_mix(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    shape: RowFormat,
) -> None:
    monkeypatch.setattr("spark_jobs.targets.parquet.rows_per_file", lambda _: 5)
    to = f"{kind}:{tmp_path / 'target'}" + ("#chunks" if kind == "lancedb" else "")
    if kind == "postgresql":
        to = request.getfixturevalue("postgresql_table")
    first(to, OLD)
    with reading(reader_of(to)) as seen:
        for number in range(3):
            here = replace(shape, table=f"n{number}", earlier_tables=frozenset({"t1"}))
            switch(to, here, run=f"n{number}")
            back = replace(shape_of(), earlier_tables=frozenset({f"n{number}"}))
            export(to, [batch_of(OLD, "r1")], shape=back)
    whole = {(len(OLD), frozenset({"r1"})), *((len(NEW), frozenset({f"n{number}"})) for number in range(3))}
    assert set(seen) <= whole
    assert len(set(seen)) > 1, "the reader has seen no switch"


def test_readers_of_postgresql_with_parameters_and_in_transactions_see_no_error(postgresql_table: str) -> None:
    to, table = postgresql_table, sql.SQL(postgresql_table.rpartition("#")[2])
    first(to, OLD)
    query = sql.SQL("SELECT chunk_id::text, run_id FROM {} WHERE run_id <> %s ORDER BY chunk_id").format(table)
    connection = psycopg.connect(dbname="postgres", autocommit=True)
    # Every statement is prepared on the server, as drivers do with frequent ones.
    connection.prepare_threshold = 0

    def read() -> tuple[int, frozenset[str]]:
        rows = connection.execute(query, ["none"]).fetchall()
        return len(rows), frozenset(run for _, run in rows)

    with reading(read) as seen:
        switch(to, SHAPES["other columns"])
    connection.close()
    assert set(seen) == {(len(OLD), frozenset({"r1"})), (len(NEW), frozenset({"n1"}))}


def test_readers_of_qdrant_see_one_of_the_two_between_any_two_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"qdrant:{tmp_path / 'target'}#chunks"
    first(to, OLD)
    seen: set[frozenset[str]] = set()
    with opened(to) as target:
        look_between_requests(target, monkeypatch, seen)
        shape = SHAPES["another dimension"]
        target.prepare(shape, False)
        target.send([batch_of([i], "n1", shape) for i in NEW])
        target.finish()
    assert seen == {frozenset({"r1"}), frozenset({"n1"})}


def look_between_requests(target: Target, monkeypatch: pytest.MonkeyPatch, seen: set[frozenset[str]]) -> None:
    for name in ("create_collection", "upsert", "update_collection", "update_collection_aliases", "delete_collection"):
        real = getattr(QdrantClient, name)

        def watched(client: QdrantClient, *args: Any, _real: Any = real, **more: Any) -> Any:
            result = _real(client, *args, **more)
            seen.add(frozenset(seen_runs("qdrant", target).values()))
            return result

        monkeypatch.setattr(QdrantClient, name, watched)


# Parquet


def test_other_files_and_permissions_of_the_folder_stay(tmp_path: Path) -> None:
    to, folder = f"parquet:{tmp_path / 'target'}", tmp_path / "target"
    first(to, OLD)
    (folder / "README.txt").write_text("mine")
    folder.chmod(0o750)
    switch(to)
    assert (folder / "README.txt").read_text() == "mine"
    assert folder.stat().st_mode & 0o777 == 0o750
    assert leftovers(to) == []


def test_where_folders_cannot_be_exchanged_no_reader_sees_both_and_the_export_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_exchange, "exchange", lambda *_: False)
    monkeypatch.setattr("spark_jobs.targets.parquet.rows_per_file", lambda _: 5)
    to, folder = f"parquet:{tmp_path / 'target'}", tmp_path / "target"
    first(to, OLD)
    seen: set[frozenset[str]] = set()
    for name in ("replace", "unlink"):
        real = getattr(Path, name)

        def watched(path: Path, *args: Any, _real: Any = real, **more: Any) -> Any:
            result = _real(path, *args, **more)
            rows = [row for file in folder.glob("*.parquet") for row in pyarrow.parquet.read_table(file).to_pylist()]
            seen.add(frozenset(row["run_id"] for row in rows))
            return result

        monkeypatch.setattr(Path, name, watched)
    shape = next_shape()
    with opened(to) as target:
        target.prepare(shape, False)
        target.send([batch_of(NEW, "n1", shape)])
        target.finish()
        assert ["cannot exchange two folders" in note for note in target.notes()] == [True]
    assert seen == {frozenset({"r1"}), frozenset(), frozenset({"n1"})}
    assert runs_held(to) == dict.fromkeys(NEW, "n1")
    assert leftovers(to) == []


# PostgreSQL


@pytest.fixture
def role(postgresql_server: Path) -> Iterator[str]:
    name = f"reader_{os.getpid()}"
    asked(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    asked(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    asked(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def acl_of(to: str) -> tuple[Any, ...]:
    query = (
        "SELECT relowner::regrole::text, array(SELECT unnest(relacl)::text ORDER BY 1), "
        "array(SELECT attname || attacl::text FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL) "
        "FROM pg_class c WHERE oid = %s::regclass"
    )
    return asked(query, to.rpartition("#")[2])[0]


def switched_notes(to: str, shape: RowFormat) -> list[str]:
    with opened(to) as target:
        target.prepare(shape, False)
        target.send([batch_of(NEW, "n1", shape)])
        target.finish()
        return target.notes()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_new_table_has_the_owner_and_the_grants_of_the_old_one(
    postgresql_table: str, role: str, shape: RowFormat
) -> None:
    to, table = postgresql_table, sql.SQL(postgresql_table.rpartition("#")[2])
    first(to, OLD)
    reader, owner = sql.Identifier(role), sql.Identifier(f"{role}_owner")
    asked(sql.SQL("CREATE ROLE {}").format(owner))
    try:
        for right in ("SELECT ON {} TO {} WITH GRANT OPTION", "UPDATE (text) ON {} TO {}", "DELETE ON {} TO PUBLIC"):
            asked(sql.SQL("GRANT " + right).format(table, reader))
        asked(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(owner))
        asked(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, owner))
        asked(sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO {}").format(reader))
        before = acl_of(to)
        assert before[1] and before[2]
        assert switched_notes(to, shape) == ["a new table with the same owner and grants replaced the old one"]
        assert acl_of(to) == before
        assert asked(sql.SQL("SELECT count(*) FROM {}").format(table), user=role) == [(len(NEW),)]
    finally:
        asked(sql.SQL("DROP OWNED BY {}").format(owner))
        asked(sql.SQL("DROP ROLE {}").format(owner))


def test_a_grant_on_a_column_that_is_gone_is_said(postgresql_table: str, role: str) -> None:
    to, table = postgresql_table, sql.SQL(postgresql_table.rpartition("#")[2])
    first(to, OLD)
    asked(sql.SQL("GRANT SELECT (language) ON {} TO {}").format(table, sql.Identifier(role)))
    (note,) = switched_notes(to, SHAPES["other columns"])
    assert f"these could not be kept: SELECT for {role}" in note


def test_a_table_with_views_and_indexes_keeps_its_place_if_the_columns_stay(postgresql_table: str) -> None:
    to, table = postgresql_table, sql.SQL(postgresql_table.rpartition("#")[2])
    first(to, OLD)
    view = sql.Identifier(f"v{to[-10:-1]}")
    asked(sql.SQL("CREATE VIEW {} AS SELECT chunk_id::text, run_id FROM {}").format(view, table))
    asked(sql.SQL("CREATE INDEX ON {} (doc_id)").format(table))
    (note,) = switched_notes(to, SHAPES["same columns"])
    assert note == "the table has indexes, views, so it stayed and all its rows were replaced in it"
    assert dict(asked(sql.SQL("SELECT * FROM {}").format(view))) == dict.fromkeys(NEW, "n1")
    back = replace(shape_of(dimension=9), earlier_tables=frozenset({"t2"}))
    with pytest.raises(InputError, match=r"depend on it.*\. Drop what depends on the table"):
        export(to, [batch_of(OLD, "r2", back)], shape=back)
    assert dict(asked(sql.SQL("SELECT * FROM {}").format(view))) == dict.fromkeys(NEW, "n1")
    asked(sql.SQL("DROP VIEW {}").format(view))
    assert ["could not be kept: its indexes" in note for note in switched_notes(to, back)] == [True]


def test_a_table_that_hides_rows_is_not_replaced_by_one_that_shows_them(postgresql_table: str) -> None:
    to, table = postgresql_table, sql.SQL(postgresql_table.rpartition("#")[2])
    first(to, OLD)
    asked(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(table))
    for full in (False, True):
        with pytest.raises(InputError, match="the table has row-level security, which a new table would not have"):
            export(to, shape=SHAPES["another dimension"], full=full)
    assert runs_held(to) == dict.fromkeys(OLD, "r1")
    switch(to, SHAPES["same columns"])
    enabled = asked("SELECT relrowsecurity FROM pg_class WHERE oid = %s::regclass", to.rpartition("#")[2])
    assert enabled == [(True,)] and runs_held(to) == dict.fromkeys(NEW, "n1")


def test_a_switch_waits_for_a_long_query_and_lets_others_through(
    postgresql_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_jobs.targets.postgresql.connection._TRY_SECONDS", 1)
    to, table = postgresql_table, sql.SQL(postgresql_table.rpartition("#")[2])
    first(to, OLD)
    long = psycopg.connect(dbname="postgres")
    long.execute(sql.SQL("SELECT 1 FROM {}").format(table))
    ending = threading.Timer(4, long.rollback)
    ending.start()
    with reading(lambda: (asked(sql.SQL("SELECT count(*) FROM {}").format(table))[0][0], frozenset())) as seen:
        switch(to)
    ending.join()
    long.close()
    assert {count for count, _ in seen} == {len(OLD), len(NEW)}


# Qdrant


def make_plain(folder: Path, ids: list[str]) -> None:
    """Creates a target as earlier versions did: a collection under the target's own name."""
    first(f"qdrant:{folder}#model", ids)
    client = QdrantClient(path=str(folder))
    vectors = models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
    client.create_collection("chunks", vectors, metadata=client.get_collection("model").config.metadata)
    points = client.scroll("model", limit=1000, with_vectors=True)[0]
    client.upsert("chunks", [models.PointStruct(id=p.id, vector=p.vector, payload=p.payload) for p in points])
    for name in client.get_collections().collections:
        if name.name != "chunks":
            client.delete_collection(name.name)
    client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="chunks", alias_name="live"))]
    )
    client.close()


def names_in(folder: Path) -> tuple[set[str], dict[str, str]]:
    client = QdrantClient(path=str(folder))
    aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
    collections = {one.name for one in client.get_collections().collections}
    client.close()
    return collections, aliases


def test_a_collection_without_an_alias_goes_on_and_gets_one_at_its_first_switch(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    to = f"qdrant:{folder}#chunks"
    make_plain(folder, OLD)
    assert export(to, [batch_of(OLD[:1], "r2")]) is True
    assert names_in(folder) == ({"chunks"}, {"live": "chunks"})
    (note,) = switched_notes(to, SHAPES["another dimension"])
    assert "chunks was a collection and is an alias of chunks.embedlake-" in note
    collections, aliases = names_in(folder)
    assert len(collections) == 1 and aliases == dict.fromkeys(["chunks", "live"], *collections)
    assert runs_held(to) == dict.fromkeys(NEW, "n1")
    back = replace(shape_of(), earlier_tables=frozenset({"t2"}))
    assert switched_notes(to, back) == []
    assert set(names_in(folder)[1]) == {"chunks", "live"}


def test_a_first_switch_that_is_killed_before_the_alias_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "target"
    to = f"qdrant:{folder}#chunks"
    make_plain(folder, OLD)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(qdrant_collections, "give_name", killed)
        switch(to)
    assert "chunks" not in {*names_in(folder)[0], *names_in(folder)[1]}
    shape = next_shape()
    assert export(to, shape=shape) is True
    assert runs_held(to) == dict.fromkeys(NEW, "n1")
    assert leftovers(to) == []


def test_a_collection_with_a_name_of_its_own_stays(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    make_plain(folder, OLD)
    switch(f"qdrant:{folder}#live")
    assert runs_held(f"qdrant:{folder}#chunks") == dict.fromkeys(OLD, "r1")
    assert runs_held(f"qdrant:{folder}#live") == dict.fromkeys(NEW, "n1")


# LanceDB


def test_a_table_that_is_open_keeps_its_rows_until_it_is_refreshed(tmp_path: Path) -> None:
    import lancedb

    to = f"lancedb:{tmp_path / 'target'}#chunks"
    first(to, OLD)
    table = lancedb.connect(tmp_path / "target").open_table("chunks")
    switch(to, SHAPES["another dimension"])
    assert set(table.to_arrow().column("run_id").to_pylist()) == {"r1"}
    table.checkout_latest()
    assert table.to_arrow().column("run_id").to_pylist() == ["n1"] * len(NEW)
    stamp = json.loads(table.schema.metadata[b"embedlake"])
    assert (stamp["owner"], stamp["dimension"]) == ("embedlake toy.next bbbb", DIMENSION + 1)
