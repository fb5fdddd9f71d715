"""PostgreSQL with pgvector, tested against a real server."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from schemas.errors import InputError, RunActiveError
from tests.targets.exports import export, first, opened, runs_held
from tests.targets.readers import rows_in
from tests.targets.rows import DIMENSION, LANGUAGE, batch_of, ids_of, row_of, shape_of, vector_of

ROOT = Path(__file__).parents[2]
IDS = ids_of(range(40))


@pytest.fixture
def to(postgresql_table: str) -> str:
    return postgresql_table


@pytest.fixture
def table(to: str) -> sql.Composable:
    return sql.SQL(to.rpartition("#")[2])


def asked(query: str | sql.Composable, *values: Any, **connecting: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dbname="postgres", autocommit=True, **connecting) as connection:
        cursor = connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def role(postgresql_server: Path) -> Iterator[str]:
    """A user that may log in, has a password in case the server asks for one, and owns nothing."""
    name = f"user_{os.getpid()}"
    asked(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hunter2'").format(sql.Identifier(name)))
    yield name
    asked(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    asked(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


# The table


TYPES: list[tuple[str, pa.DataType, str]] = [
    ("s", pa.string(), "text"),
    ("i8", pa.int8(), "smallint"),
    ("i16", pa.int16(), "smallint"),
    ("i32", pa.int32(), "integer"),
    ("i64", pa.int64(), "bigint"),
    ("f", pa.float32(), "real"),
    ("d", pa.float64(), "double precision"),
    ("b", pa.bool_(), "boolean"),
    ("day", pa.date32(), "date"),
    ("at", pa.timestamp("us", tz="UTC"), "timestamp with time zone"),
    ("local", pa.timestamp("us"), "timestamp without time zone"),
    ("money", pa.decimal128(12, 2), "numeric(12,2)"),
    ("raw", pa.binary(), "bytea"),
    ("tags", pa.list_(pa.string()), "jsonb"),
    ("parts", pa.struct([("x", pa.int32())]), "jsonb"),
    ("map", pa.map_(pa.string(), pa.string()), "jsonb"),
]


def test_columns_have_the_types_that_one_expects(to: str) -> None:
    export(to, shape=shape_of([pa.field(name, kind) for name, kind, _ in TYPES]))
    found = asked(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        to.rpartition("#")[2],
    )
    assert found == [
        ("chunk_id", "uuid"),
        ("doc_id", "text"),
        ("chunk_index", "integer"),
        ("char_start", "integer"),
        ("char_end", "integer"),
        ("text", "text"),
        *((name, kind) for name, _, kind in TYPES),
        ("run_id", "text"),
        ("embedding", f"vector({DIMENSION})"),
    ]


def test_vectors_arrive_exactly(to: str, table: sql.Composable) -> None:
    first(to, IDS)
    found = asked(sql.SQL("SELECT chunk_id::text, embedding::real[] FROM {}").format(table))
    assert {i: np.array(v, dtype=np.float32).tobytes() for i, v in found} == {
        i: vector_of(i, "r1").tobytes() for i in IDS
    }


def test_one_statement_finds_the_nearest_by_the_index(to: str, table: sql.Composable) -> None:
    first(to, IDS)
    vector = str(vector_of(IDS[3], "r1").tolist())
    query = sql.SQL("SELECT chunk_id::text, text FROM {} ORDER BY embedding <#> %s::vector LIMIT 1").format(table)
    assert asked(query, vector) == [(IDS[3], "text of r1")]
    plan = asked(sql.SQL("EXPLAIN ") + query, vector, options="-c enable_seqscan=off")
    assert any("Index Scan using" in line for (line,) in plan)


@pytest.mark.parametrize(
    ("dimension", "indexed", "note"),
    [
        (2000, "vector_ip_ops", None),
        (2001, "halfvec_ip_ops", "half precision"),
        (4001, None, "no index for more than 4,000"),
    ],
)
def test_long_vectors_are_indexed_as_far_as_pgvector_can(
    to: str, table: sql.Composable, dimension: int, indexed: str | None, note: str | None
) -> None:
    shape = shape_of([], dimension)
    with opened(to) as target:
        target.prepare(shape, False)
        target.send([batch_of(IDS[:5], "r1", shape)])
        target.finish()
        assert target.nearest(np.stack([vector_of(IDS[2], "r1", dimension)]), 1) == [[IDS[2]]]
        assert [note in said for said in target.notes()] == ([True] if note else [])
    definitions = asked(
        "SELECT indexdef FROM pg_indexes WHERE indexdef LIKE %s", f"%{to.split('.')[-1].strip(chr(34))}%hnsw%"
    )
    assert [indexed in definition for (definition,) in definitions] == ([True] if indexed else [])


def test_vectors_that_are_too_long_for_pgvector_are_refused(to: str) -> None:
    with pytest.raises(InputError, match="at most 16,000 numbers, and these have 16,001"):
        export(to, shape=shape_of([], 16_001))


def test_names_of_schemas_and_tables_are_taken_exactly(postgresql_server: Path) -> None:
    for name in ('say ""hi""', "a.b; DROP TABLE x; --", "Größe 日本 😀", "x" * 63, "SELECT", "%s {} $1", "me@home"):
        to = f'postgresql:///postgres#"{name}"."{name}"'
        first(to, IDS[:4])
        export(to, [batch_of(IDS[:1], "r2")], IDS[3:4])
        assert runs_held(to) == dict(zip(IDS[:3], ["r2", "r1", "r1"], strict=True))
        with opened(to) as target:
            target.prepare(shape_of(), True)
            target.send([batch_of(IDS[:3], "r3")])
            target.finish()
            assert target.nearest(np.stack([vector_of(IDS[2], "r3")]), 1) == [[IDS[2]]]
        exact = name.replace('""', '"')
        assert asked("SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = %s", exact, exact) == [(1,)]
        asked(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(exact)))


def test_nul_characters_become_visible_ones_and_the_export_says_so(to: str) -> None:
    shape = shape_of([LANGUAGE, pa.field("tags", pa.list_(pa.string()))])
    rows = [
        row_of(IDS[0], "r1", shape, text="a\0b", language="\0", tags=["\0", "\\u0000"]),
        row_of(IDS[1], "r1", shape, text="a\\0b", tags=["\\u0000"]),
    ]
    with opened(to) as target:
        target.prepare(shape, False)
        target.send([pa.RecordBatch.from_pylist(rows, shape.rows)])
        target.finish()
        assert target.notes() == ["1 rows had NUL characters, which PostgreSQL cannot hold; each became U+FFFD"]
    found = rows_in(to)
    assert (found[IDS[0]]["text"], found[IDS[0]]["language"], found[IDS[0]]["tags"]) == ("a�b", "�", ["�", "\\u0000"])
    assert (found[IDS[1]]["text"], found[IDS[1]]["tags"]) == ("a\\0b", ["\\u0000"])


def test_an_instant_that_python_does_not_know_is_refused_by_its_column(to: str) -> None:
    shape = shape_of([pa.field("at", pa.timestamp("us", tz="UTC"))])
    batch = batch_of(IDS[:1], "r1", shape)
    late = pa.array([2**62], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    columns = [late if name == "at" else batch.column(name) for name in batch.schema.names]
    with pytest.raises(InputError, match="the payload column 'at' has a date or a time outside the years 1 to 9999"):
        export(to, [pa.RecordBatch.from_arrays(columns, schema=batch.schema)], shape=shape)


def test_types_that_postgresql_cannot_hold_are_refused_all_at_once(to: str) -> None:
    shape = shape_of([pa.field("for", pa.duration("us")), pa.field("x" * 64, pa.int32()), pa.field("ctid", pa.int32())])
    with pytest.raises(InputError) as caught:
        export(to, shape=shape)
    assert len(caught.value.faults) == 3


# One transaction


def test_readers_see_the_old_rows_until_the_export_is_finished(to: str) -> None:
    first(to, IDS[:10])
    before = rows_in(to)
    for full in (False, True):
        with opened(to) as target:
            target.prepare(shape_of(), full)
            target.send([batch_of(IDS[5:20], "r2")])
            target.remove([pa.array(IDS[:2])])
            assert rows_in(to) == before
    with opened(to) as target:
        target.prepare(shape_of(), True)
        target.send([batch_of(IDS[5:20], "r2")])
        assert rows_in(to) == before
        target.finish()
        assert set(rows_in(to)) == set(IDS[5:20])


def test_a_new_table_is_there_only_when_it_is_finished(to: str) -> None:
    with opened(to) as target:
        target.prepare(shape_of(), False)
        target.send([batch_of(IDS[:3], "r1")])
        with pytest.raises(psycopg.errors.UndefinedTable):
            rows_in(to)
        target.finish()
    assert set(rows_in(to)) == set(IDS[:3])


def test_an_export_that_is_killed_leaves_the_table_as_it_was(to: str) -> None:
    first(to, IDS[:10])
    before = rows_in(to)
    code = (
        "import os, sys\n"
        "from tests.targets.rows import batch_of, ids_of, shape_of\n"
        "from spark_jobs.targets.factory import open_target\n"
        "target = open_target(sys.argv[1])\n"
        "target.prepare(shape_of(), True)\n"
        "target.send([batch_of(ids_of(range(30)), 'r2')])\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, to], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert rows_in(to) == before
    export(to, [batch_of(IDS[:30], "r2")])
    assert runs_held(to) == dict.fromkeys(IDS[:30], "r2")


def test_a_second_export_to_the_same_table_is_refused_while_the_first_is_at_work(to: str) -> None:
    first(to, IDS[:3])
    with opened(to) as target:
        target.prepare(shape_of(), False)
        with pytest.raises(RunActiveError, match="another export to this table is running"), opened(to) as second:
            second.prepare(shape_of(), False)
    assert export(to) is True


def test_the_lock_of_an_export_that_ends_this_moment_is_waited_for(to: str) -> None:
    with opened(to) as ending, opened(to) as second:
        ending.prepare(shape_of(), False)
        end = threading.Timer(0.5, ending.close)
        end.start()
        second.prepare(shape_of(), False)
        end.join()


def test_a_full_export_keeps_grants_and_views_where_the_columns_stay(to: str, table: sql.Composable, role: str) -> None:
    first(to, IDS[:10])
    view = sql.Identifier(f"v_{role}")
    asked(sql.SQL("CREATE VIEW {} AS SELECT chunk_id::text, text FROM {}").format(view, table))
    asked(sql.SQL("GRANT SELECT ON {} TO {}").format(table, sql.Identifier(role)))
    export(to, [batch_of(IDS[5:12], "r2")], full=True)
    assert set(asked(sql.SQL("SELECT * FROM {}").format(view))) == {(i, "text of r2") for i in IDS[5:12]}
    assert asked(sql.SQL("SELECT count(*) FROM {}").format(table), user=role) == [(7,)]
    other = shape_of([])
    with pytest.raises(InputError, match=r"depend on it.*\. Drop what depends on the table"):
        export(to, shape=other, full=True)
    asked(sql.SQL("DROP VIEW {}").format(view))
    with opened(to) as target:
        target.prepare(other, True)
        target.finish()
        assert target.notes() == ["a new table with the same owner and grants replaced the old one"]
    assert asked(sql.SQL("SELECT count(*) FROM {}").format(table), user=role) == [(0,)]


def test_a_table_whose_columns_somebody_changed_is_refused(to: str, table: sql.Composable) -> None:
    first(to, IDS[:3])
    asked(sql.SQL("ALTER TABLE {} RENAME COLUMN text TO words").format(table))
    with pytest.raises(InputError, match="columns are not as embedlake created them"):
        export(to, [batch_of(IDS[:3], "r2")])
    export(to, [batch_of(IDS[:3], "r2")], full=True)
    asked(sql.SQL("ALTER TABLE {} ADD COLUMN seen timestamptz DEFAULT now()").format(table))
    assert export(to, [batch_of(IDS[:4], "r3")]) is True
    assert {row["run_id"] for row in rows_in(to).values()} == {"r3"}


def test_a_view_in_the_place_of_the_table_is_refused(to: str, table: sql.Composable) -> None:
    asked(sql.SQL("CREATE VIEW {} AS SELECT 1 AS chunk_id").format(table))
    with pytest.raises(InputError, match="something other than a plain table has this name"):
        first(to, IDS[:3])


# Servers that refuse


def test_a_server_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    for to in ("postgresql://127.0.0.1:1/db#t", f"postgresql://{str(tmp_path).replace('/', '%2F')}/db#t"):
        with pytest.raises(InputError, match="the server cannot be reached") as caught:
            first(to, IDS[:1])
        assert "hunter2" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(postgresql_server: Path) -> None:
    with pytest.raises(InputError, match=r"postgresql://.*/nowhere#public.t: the database does not exist"):
        first("postgresql:///nowhere#t", IDS[:1])


def test_an_unknown_user_is_told_to_set_pguser(postgresql_server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "nobody_of_this_name")
    with pytest.raises(InputError, match=r"does not know this user\. Set PGUSER"):
        first("postgresql:///postgres#t", IDS[:1])


@pytest.fixture
def asks_for_passwords(postgresql_server: Path, role: str) -> Iterator[str]:
    """The server asks this user for a password, as servers usually do."""
    ((path,),) = asked("SHOW hba_file")
    rules = Path(path).read_text(encoding="utf-8")
    Path(path).write_text(f"local all {role} scram-sha-256\n{rules}", encoding="utf-8")
    asked("SELECT pg_reload_conf()")
    yield role
    Path(path).write_text(rules, encoding="utf-8")
    asked("SELECT pg_reload_conf()")


@pytest.mark.parametrize("password", [None, "hunter3"])
def test_a_wrong_password_is_said_and_not_repeated(
    asks_for_passwords: str, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    monkeypatch.setenv("PGUSER", asks_for_passwords)
    monkeypatch.setenv("PGPASSWORD", password) if password else monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(
        InputError, match=r"denies this user access\. Set PGUSER, and PGPASSWORD or PGPASSFILE"
    ) as caught:
        first("postgresql:///postgres#t", IDS[:1])
    assert "hunter" not in str(caught.value)


def test_the_right_password_comes_from_the_environment(
    asks_for_passwords: str, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    asked("CREATE EXTENSION IF NOT EXISTS vector")
    asked(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(sql.Identifier(asks_for_passwords)))
    monkeypatch.setenv("PGUSER", asks_for_passwords)
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    own = f'postgresql:///postgres#"{asks_for_passwords}"."chunks"'
    first(own, IDS[:3])
    assert runs_held(own) == dict.fromkeys(IDS[:3], "r1")


def test_a_user_without_rights_is_told_what_the_server_says(
    to: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first(to, IDS[:3])
    monkeypatch.setenv("PGUSER", role)
    for schema in ("public", "new"):
        with pytest.raises(InputError, match=r"permission denied for .*\. Grant the user that right"):
            first(f"postgresql:///postgres#{schema}.mine", IDS[:1])
    with pytest.raises(InputError, match=r"must be owner|permission denied"):
        export(to, [batch_of(IDS[:3], "r2")])


@pytest.fixture
def database(postgresql_server: Path) -> Iterator[str]:
    name = f"db_{os.getpid()}"
    asked(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield name
    asked(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_pgvector_is_added_where_that_may_be_and_asked_for_where_not(
    database: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"postgresql:///{database}#t"
    monkeypatch.setenv("PGUSER", role)
    with pytest.raises(InputError, match=r"lacks pgvector, and this user may not add it\. Have an administrator run"):
        first(to, IDS[:1])
    monkeypatch.setenv("PGUSER", "postgres")
    first(to, IDS[:1])


def test_pgvector_may_be_in_a_schema_of_its_own(database: str) -> None:
    with psycopg.connect(dbname=database) as connection:
        connection.execute('CREATE SCHEMA "My ""extensions"""')
        connection.execute('CREATE EXTENSION vector SCHEMA "My ""extensions"""')
    to = f"postgresql:///{database}#own.t"
    first(to, IDS)
    with opened(to) as target:
        assert target.prepare(shape_of(), False) is True
        assert target.nearest(np.stack([vector_of(IDS[3], "r1")]), 1) == [[IDS[3]]]
    assert runs_held(to) == dict.fromkeys(IDS, "r1")


def test_a_database_that_keeps_text_in_less_than_utf8_is_refused(postgresql_server: Path) -> None:
    asked("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(InputError, match="the database stores text as LATIN1"):
            first("postgresql:///latin1#t", IDS[:1])
    finally:
        asked("DROP DATABASE latin1 WITH (FORCE)")


def test_a_connection_that_is_cut_is_said(to: str) -> None:
    first(to, IDS[:3])
    with (
        pytest.raises(InputError, match=r"no export is left half done|terminating connection"),
        opened(to) as target,
    ):
        target.prepare(shape_of(), False)
        asked("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'embedlake'")
        target.send([batch_of(IDS[:3], "r2")])
    assert runs_held(to) == dict.fromkeys(IDS[:3], "r1")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            "53100",
            r"the server reports `could not extend: secret text`\. Free up space on the server's disk, then export",
        ),
        ("22023", r"the server refused a row or a statement \(SQLSTATE 22023, InvalidParameterValue\)\. See its log"),
    ],
)
def test_what_the_server_says_of_rows_is_not_repeated(
    to: str, table: sql.Composable, role: str, state: str, said: str
) -> None:
    first(to, IDS[:3])
    before = rows_in(to)
    name = sql.Identifier(f"fail_{role}")
    # The trigger fails in the middle of an export, like a full disk or a check on rows would.
    body = sql.Literal(f"BEGIN RAISE EXCEPTION 'could not extend: secret text' USING ERRCODE = '{state}'; END")
    asked(sql.SQL("CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(name, body))
    asked(sql.SQL("CREATE TRIGGER fail BEFORE DELETE ON {} EXECUTE FUNCTION {}()").format(table, name))
    with pytest.raises(InputError, match=said):
        export(to, [batch_of(IDS[3:6], "r2")], IDS[:1])
    asked(sql.SQL("DROP FUNCTION {} CASCADE").format(name))
    assert rows_in(to) == before


def test_the_table_says_whose_it_is_in_its_comment(to: str) -> None:
    first(to, IDS[:1])
    ((comment,),) = asked("SELECT obj_description(%s::regclass)", to.rpartition("#")[2])
    assert "embedlake toy.main aaaa" in comment
