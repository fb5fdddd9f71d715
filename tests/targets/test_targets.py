"""Behavior that every kind of target shares."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError
from spark_jobs.targets.factory import open_target
from tests.targets.exports import export, first, opened, runs_held
from tests.targets.readers import rows_in
from tests.targets.rows import DIMENSION, EVERY_TYPE, LANGUAGE, batch_of, ids_of, row_of, shape_of, vector_of

IDS = ids_of(range(60))


def expected_rows(runs: dict[str, str]) -> dict[str, dict[str, object]]:
    rows = {chunk_id: row_of(chunk_id, run, shape_of()) for chunk_id, run in runs.items()}
    return {i: {name: value for name, value in row.items() if name != "embedding"} for i, row in rows.items()}


def test_the_first_export_leaves_exactly_the_rows_sent(to: str) -> None:
    assert export(to, [batch_of(IDS, "r1")]) is False
    assert rows_in(to) == expected_rows(dict.fromkeys(IDS, "r1"))
    assert runs_held(to) == dict.fromkeys(IDS, "r1")


def test_a_second_export_replaces_adds_and_removes(to: str) -> None:
    first(to, IDS[:40])
    assert export(to, [batch_of(IDS[30:50], "r2")], IDS[:10]) is True
    runs = dict.fromkeys(IDS[10:30], "r1") | dict.fromkeys(IDS[30:50], "r2")
    assert runs_held(to) == runs
    assert rows_in(to) == expected_rows(runs)


def test_the_same_export_again_changes_nothing(to: str) -> None:
    for _ in range(2):
        export(to, [batch_of(IDS[:20], "r1")], IDS[40:])
    assert rows_in(to) == expected_rows(dict.fromkeys(IDS[:20], "r1"))


def test_an_export_of_nothing_leaves_what_is_there(to: str) -> None:
    first(to, IDS[:5])
    assert export(to) is True
    assert runs_held(to) == dict.fromkeys(IDS[:5], "r1")


def test_an_empty_library_can_be_exported_and_filled_later(to: str) -> None:
    assert export(to) is False
    with opened(to) as target:
        assert target.prepare(shape_of(), False) is True
        assert (target.count(), list(target.held())) == (0, [])
        assert target.nearest(np.ones((2, DIMENSION), dtype=np.float32), 3) == [[], []]
    export(to, [batch_of(IDS[:5], "r1")])
    assert runs_held(to) == dict.fromkeys(IDS[:5], "r1")


def test_everything_can_be_removed(to: str) -> None:
    first(to, IDS[:5])
    export(to, removals=IDS[:5])
    assert runs_held(to) == {}
    export(to, [batch_of(IDS[3:7], "r2")])
    assert runs_held(to) == dict.fromkeys(IDS[3:7], "r2")


def test_rows_may_come_in_any_number_of_batches(to: str) -> None:
    batches = [batch_of([chunk_id], "r1") for chunk_id in IDS[:7]]
    empty = batch_of([], "r1")
    export(to, iter([empty, *batches, empty, batch_of(IDS[7:20], "r1").slice(3, 5)]))
    assert runs_held(to) == dict.fromkeys([*IDS[:7], *IDS[10:15]], "r1")


def test_of_what_is_sent_and_removed_more_than_once_the_last_counts(to: str) -> None:
    with opened(to) as target:
        target.prepare(shape_of(), False)
        target.send([batch_of(IDS[:6], "r1"), batch_of(IDS[:2], "r2")])
        target.send(
            [pa.RecordBatch.from_pylist([row_of(IDS[2], r, shape_of()) for r in ("r2", "r3")], shape_of().rows)]
        )
        target.remove([pa.array(IDS[3:5]), pa.array(IDS[8:9])])
        target.send([batch_of(IDS[4:5], "r4")])
        target.finish()
        assert target.count() == 5
    assert runs_held(to) == dict(zip([*IDS[:3], IDS[4], IDS[5]], ["r2", "r2", "r3", "r4", "r1"], strict=True))


def test_the_nearest_are_those_of_an_exact_search(to: str) -> None:
    first(to, IDS)
    export(to, [batch_of(IDS[:30], "r2")], IDS[50:])
    vectors = {i: vector_of(i, "r2" if i in IDS[:30] else "r1") for i in IDS[:50]}
    matrix = np.stack(list(vectors.values()))
    asked = np.stack([*matrix[:5], *np.random.default_rng(1).normal(size=(5, DIMENSION)).astype(np.float32)])
    exact = [[list(vectors)[at] for at in row] for row in np.argsort(-(asked @ matrix.T), axis=1)]
    with opened(to) as target:
        assert target.prepare(shape_of(), False) is True
        assert target.nearest(asked, 10) == [row[:10] for row in exact]
        assert target.nearest(asked[:1], 1) == [[IDS[0]]]
        assert [len(row) for row in target.nearest(asked, 500)] == [50] * 10
        assert target.count() == 50


def test_vectors_that_are_no_unit_vectors_are_compared_by_their_dot_product(to: str) -> None:
    rows = [row_of(i, "r1", shape_of(), embedding=[float(n)] + [1.0] * 7) for n, i in enumerate(IDS[:5])]
    export(to, [pa.RecordBatch.from_pylist(rows, shape_of().rows)])
    with opened(to) as target:
        target.prepare(shape_of(), False)
        found = target.nearest(np.eye(1, DIMENSION, dtype=np.float32), 5)
    assert found == [IDS[4::-1]]


def test_an_export_that_ends_before_finish_is_made_good_by_the_same_export(to: str) -> None:
    first(to, IDS[:20])
    upserts = batch_of(IDS[10:30], "r2")
    export(to, [upserts], IDS[:5], is_finished=False)
    export(to, [upserts], IDS[:5])
    assert rows_in(to) == expected_rows(dict.fromkeys(IDS[5:10], "r1") | dict.fromkeys(IDS[10:30], "r2"))


def test_the_first_export_can_end_before_finish_too(to: str) -> None:
    export(to, [batch_of(IDS[:10], "r1")], is_finished=False)
    export(to, [batch_of(IDS[:10], "r1")])
    assert rows_in(to) == expected_rows(dict.fromkeys(IDS[:10], "r1"))


def test_a_full_export_leaves_nothing_of_what_was_there(to: str) -> None:
    first(to, IDS[:20])
    export(to, [batch_of(IDS[15:25], "r2")], full=True)
    assert rows_in(to) == expected_rows(dict.fromkeys(IDS[15:25], "r2"))
    with opened(to) as target:
        target.prepare(shape_of(), False)
        assert target.nearest(np.stack([vector_of(IDS[20], "r2")]), 1) == [[IDS[20]]]


# What is refused


OTHER = {
    "another library": shape_of(owner="embedlake other.main aaaa"),
    "another model": shape_of(owner="embedlake toy.main bbbb"),
    "another store": shape_of(table="t2"),
    "another dimension": shape_of(dimension=DIMENSION + 1),
    "another payload column": shape_of([LANGUAGE, pa.field("year", pa.int32())]),
    "one payload column less": shape_of([]),
    "a payload column of another type": shape_of([pa.field("language", pa.int32())]),
}
MESSAGES = {
    "another library": "belongs to `embedlake toy.main`, not to `embedlake other.main`",
    "another model": r"has the vectors of another model\. Export with --full",
    "another store": r"has the rows of another table, in another store or made anew since\. Export with --full",
    "another dimension": r"has vectors of 8 numbers, and these have 9\. Export with --full",
    "another payload column": r"lacks the column 'year' \(int32\)\. Export with --full",
    "one payload column less": r"has a column 'language' that no longer exists\. Export with --full",
    "a payload column of another type": r"has the column 'language' as string, and it is int32 now\. Export with",
}


@pytest.mark.parametrize("what", OTHER)
def test_rows_of_something_else_are_refused_and_what_is_there_stays(to: str, what: str) -> None:
    first(to, IDS[:3])
    with pytest.raises(InputError, match=MESSAGES[what]), opened(to) as target:
        target.prepare(OTHER[what], False)
    assert rows_in(to) == expected_rows(dict.fromkeys(IDS[:3], "r1"))
    assert export(to) is True


@pytest.mark.parametrize("what", [what for what in OTHER if what != "another library"])
def test_a_full_export_replaces_rows_of_another_form_of_the_same_space(to: str, what: str) -> None:
    first(to, IDS[:3])
    export(to, [batch_of(IDS[2:5], "r2", OTHER[what])], shape=OTHER[what], full=True)
    assert runs_held(to) == dict.fromkeys(IDS[2:5], "r2")
    assert set(rows_in(to)[IDS[2]]) == set(OTHER[what].rows.names) - {"embedding"}
    assert export(to, shape=OTHER[what]) is True


def test_another_library_is_refused_even_by_a_full_export(to: str) -> None:
    first(to, IDS[:3])
    with pytest.raises(InputError, match="belongs to"), opened(to) as target:
        target.prepare(OTHER["another library"], True)
    assert runs_held(to) == dict.fromkeys(IDS[:3], "r1")


def test_all_faults_of_a_shape_are_named_at_once(to: str) -> None:
    first(to, IDS[:3])
    with pytest.raises(InputError) as caught, opened(to) as target:
        target.prepare(shape_of([], DIMENSION + 1, "embedlake toy.main bbbb"), False)
    assert len(caught.value.faults) == 3


def make_foreign(to: str) -> None:
    """Creates what somebody else might have in the place of a target."""
    place, _, name = to.partition(":")[2].rpartition("#") if "#" in to else (to.partition(":")[2], "", "")
    if to.startswith("postgresql"):
        import psycopg

        with psycopg.connect(dbname="postgres") as connection:
            connection.execute(f"CREATE TABLE {to.rpartition('#')[2]} AS SELECT 7 AS mine")
    elif to.startswith("qdrant"):
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=place)
        client.create_collection(name, models.VectorParams(size=DIMENSION, distance=models.Distance.DOT))
        client.upsert(name, [models.PointStruct(id=7, vector=[1.0] * DIMENSION, payload={"mine": 7})])
        client.close()
    elif to.startswith("lancedb"):
        import lancedb

        lancedb.connect(place).create_table(name, pa.table({"mine": [7]}))
    else:
        Path(place).mkdir()
        pq.write_table(pa.table({"mine": [7]}), Path(place) / "mine.parquet")


def look_at_foreign(to: str) -> object:
    place, _, name = to.partition(":")[2].rpartition("#")
    if to.startswith("postgresql"):
        import psycopg

        with psycopg.connect(dbname="postgres") as connection:
            return connection.execute(f"SELECT * FROM {to.rpartition('#')[2]}").fetchall()
    if to.startswith("qdrant"):
        from qdrant_client import QdrantClient

        client = QdrantClient(path=place)
        found = [(point.id, point.payload) for point in client.scroll(name)[0]]
        client.close()
        return found
    if to.startswith("lancedb"):
        import lancedb

        return lancedb.connect(place).open_table(name).to_arrow().to_pylist()
    folder = Path(to.partition(":")[2])
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("full", [False, True])
def test_what_embedlake_did_not_make_is_refused_and_stays(to: str, full: bool) -> None:
    make_foreign(to)
    before = look_at_foreign(to)
    with pytest.raises(InputError, match=r"not created by embedlake|did not create"), opened(to) as target:
        target.prepare(shape_of(), full)
    assert look_at_foreign(to) == before


def test_a_row_whose_id_is_no_uuid_is_refused(to: str) -> None:
    first(to, IDS[:2])
    for chunk_id in ("x' OR '1'='1", IDS[3].upper(), None):
        with pytest.raises(InputError, match="not a lower-case UUID"), opened(to) as target:
            target.prepare(shape_of(), False)
            target.send(
                [
                    pa.RecordBatch.from_pylist(
                        [{**row_of(IDS[3], "r2", shape_of()), "chunk_id": chunk_id}], shape_of().rows
                    )
                ]
            )
        with pytest.raises(InputError, match="not a lower-case UUID"), opened(to) as target:
            target.prepare(shape_of(), False)
            target.remove([pa.array([IDS[0], chunk_id], pa.string())])
    assert runs_held(to) == dict.fromkeys(IDS[:2], "r1")


# What the rows contain


TEXTS = [
    "", " ", "\n\r\n\t", "Ünïcödé ß", "e\u0301 and é", "日本語 中文 한국어", "العربية עברית", "हिन्दी ไทย",
    "😀👩‍👩‍👧‍👦🏳️‍🌈", "\u202eright to left",
    "\ufeffmark", "quote \" ' ` \\ $1 %s {} ; --", "\\N \\. \\x00", "\x01\x1f\x7f", "𝔘\U0010ffff", "x" * 100_000,
]  # fmt: skip


def test_text_of_every_script_arrives_byte_for_byte(to: str) -> None:
    rows = [
        row_of(i, "r1", shape_of(), text=text, doc_id=text, language=text) for i, text in zip(IDS, TEXTS, strict=False)
    ]
    export(to, [pa.RecordBatch.from_pylist(rows, shape_of().rows)])
    found = rows_in(to)
    assert [(found[i]["text"], found[i]["doc_id"], found[i]["language"]) for i, _ in zip(IDS, TEXTS, strict=False)] == [
        (text, text, text) for text in TEXTS
    ]


def test_payload_of_every_type_arrives(to: str) -> None:
    shape = shape_of([pa.field(name, kind) for name, kind, _, _ in EVERY_TYPE])
    full = row_of(IDS[0], "r1", shape, **{name: value for name, _, value, _ in EVERY_TYPE})
    nothing = row_of(IDS[1], "r1", shape)
    empty = row_of(IDS[2], "r1", shape, a_string="", some_bytes=b"", a_list=[], a_list_of_structs=[], a_map=[])
    export(to, [pa.RecordBatch.from_pylist([full, nothing, empty], shape.rows)], shape=shape)
    found = rows_in(to)
    # Folders and LanceDB store Arrow values, and Qdrant stores JSON. PostgreSQL has typed columns, and jsonb for nested
    # values.
    has_json = {name for name, kind, _, _ in EVERY_TYPE if pa.types.is_nested(kind)} if "postgresql" in to else set()
    has_json = {name for name, *_ in EVERY_TYPE} if "qdrant" in to else has_json
    wanted = {name: as_json if name in has_json else value for name, _, value, as_json in EVERY_TYPE}
    assert {name: found[IDS[0]][name] for name in wanted} == wanted
    assert [found[IDS[1]][name] for name in wanted] == [None] * len(wanted)
    assert (found[IDS[2]]["a_string"], found[IDS[2]]["a_list"], found[IDS[2]]["a_list_of_structs"]) == ("", [], [])
    assert found[IDS[2]]["some_bytes"] == ("" if "qdrant" in to else b"")
    assert found[IDS[2]]["a_map"] == ({} if has_json else [])
    assert export(to, shape=shape) is True


def test_numbers_that_are_none_arrive(to: str) -> None:
    shape = shape_of([pa.field("x", pa.float64())])
    export(
        to,
        [batch_of(IDS[n : n + 1], "r1", shape, x=x) for n, x in enumerate([float("nan"), float("-inf")])],
        shape=shape,
    )
    found = rows_in(to)
    assert [str(found[i]["x"]) for i in IDS[:2]] == (["NaN", "-Infinity"] if "qdrant" in to else ["nan", "-inf"])


def test_the_time_zone_of_the_session_that_read_the_rows_does_not_matter(to: str) -> None:
    here, there = (shape_of([pa.field("at", pa.timestamp("us", tz=tz))]) for tz in ("UTC", "America/New_York"))
    instant = dict((name, value) for name, _, value, _ in EVERY_TYPE)["an_instant"]
    export(to, [batch_of(IDS[:1], "r1", here, at=instant)], shape=here)
    assert export(to, [batch_of(IDS[1:2], "r1", there, at=instant)], shape=there) is True
    found = rows_in(to)
    assert found[IDS[0]]["at"] == found[IDS[1]]["at"]


HOSTILE = [
    'quo"te', "apo'strophe", "back`tick", "a.b", "x y", "", " ", "semi;colon -- ", "%s {} $1", "SELECT", "ctid",
    "_rowid", "_distance", "key", "_key", "Größe", "日本", "😀", "x" * 64, "é" * 32, "x" * 1000, "new\nline", "nul\0",
    "../up", "key.x", "language",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_payload_column_keeps_its_name_exactly_or_is_refused_by_it(to: str, name: str) -> None:
    shape = shape_of([pa.field(name, pa.string())])
    try:
        export(to, [batch_of(IDS[:2], "r1", shape, **{name: "v"})], shape=shape)
    except InputError as error:
        assert ascii(name) in str(error)
        return
    found = rows_in(to)
    assert {row[name] for row in found.values()} == {"v"}
    assert set(found[IDS[0]]) == set(shape.rows.names) - {"embedding"}
    assert export(to, [batch_of(IDS[:1], "r2", shape, **{name: "w"})], shape=shape) is True
    assert [rows_in(to)[i][name] for i in IDS[:2]] == ["w", "v"]


# Missing packages


@pytest.mark.parametrize(
    ("text", "package", "extra"),
    [
        ("faiss:x", "faiss", "faiss"),
        ("usearch:x", "usearch.index", "usearch"),
        ("lancedb:x#t", "lancedb", "lancedb"),
        ("postgresql://h/d#t", "psycopg", "postgresql"),
        ("qdrant:x#t", "qdrant_client", "qdrant"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, text: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"pip install 'embedlake\[{extra}\]'"):
        open_target(text)


def test_nothing_is_touched_before_prepare(to: str, tmp_path: Path) -> None:
    with opened(to) as target:
        assert list(target.held()) == []
    assert list(tmp_path.iterdir()) == []
