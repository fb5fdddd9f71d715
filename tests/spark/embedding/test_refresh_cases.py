"""Single refreshes, each for one rule that random refreshes might miss."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError, ReconciliationError, RunActiveError, SourceError
from spark_jobs.embed_library import run
from spark_jobs.embedding import slices
from spark_jobs.runtime.properties import set_properties
from spark_jobs.settings import Settings
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.properties import SESSION
from spark_jobs.store.tables import delta_session, space_tables
from tests.support.refresh.library import Library
from tests.support.refresh.machine import at
from tests.support.refresh.oracle import query
from tests.support.template import OWLS_AND_BEES
from udfs.encoders.fake import NOT_FINITE

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]
Loaded = Callable[..., Settings]
Row = dict[str, Any]


def texts(settings: Settings) -> list[tuple[str, str]]:
    rows = query(space(settings) / "vectors", "select doc_id, text from t order by doc_id, chunk_index")
    return [(row["doc_id"], row["text"]) for row in rows]


def space(settings: Settings) -> Path:
    return Path(settings.store.path or "") / settings.library / settings.space


def crash() -> None:
    raise SimulatedCrash


def test_a_text_that_goes_back_after_a_crash_between_the_commits(
    spark: SparkSession, write_json: WriteJson, loaded: Loaded
) -> None:
    settings = loaded(OWLS_AND_BEES)
    write_json([{"id": "a", "text": "Elms."}, {"id": "b", "text": "Bees."}, {"id": "c", "text": "Oaks."}])
    with at(("ledger.before", 1), crash), pytest.raises(SimulatedCrash):
        run(spark, settings)
    assert texts(settings) == [("a", "Elms."), ("b", "Bees."), ("c", "Oaks.")]
    # The ledger does not know about Elms and Oaks: according to its hashes, nothing has changed.
    write_json(OWLS_AND_BEES)
    report = run(spark, settings, allow_removals=True)
    assert texts(settings) == [("a", "Owls."), ("b", "Bees.")]
    assert (report.counts["retry"], report.counts["removed"], report.counts["unchanged"]) == (1, 1, 1)
    assert report.how == "full comparison: the last run left documents half done"


# Worth its time: it takes four runs in a row to show what each rule does with the state that the previous run left.
def test_failed_updates_keep_or_remove_and_are_tried_again_when_asked(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    def settings_for(**changes: Any) -> Settings:
        own = {"max_quarantined_fraction": 1.0, "max_attempts": 2, **changes}
        return make_settings(path, source={"payload_columns": ["n"]}, chunking={"max_tokens": 16}, run=own)

    def stored(doc_id: str) -> list[tuple[str, int]]:
        rows = query(space(settings) / "vectors", f"select * from t where doc_id = '{doc_id}' order by chunk_index")
        return [(row["text"], row["n"]) for row in rows]

    def attempts() -> dict[str, int]:
        rows = query(space(settings) / "ledger", "select doc_id, attempts, detail from t where status = 'quarantined'")
        assert all("vectors of an earlier text are served" in row["detail"] for row in rows)
        return {row["doc_id"]: row["attempts"] for row in rows}

    def write(a: str, b: str, n: int) -> str:
        shared = "One owl and two bees sat in the old elm tree. "
        return write_json([{"id": "a", "text": f"Moors. {a}", "n": n}, {"id": "b", "text": f"{shared}{b}", "n": n}])

    path = write("", "They sang.", 1)
    settings = settings_for()
    run(spark, settings)
    shared, sang = stored("b")
    assert (stored("a"), sang) == ([("Moors.", 1)], ("They sang.", 1))
    write(NOT_FINITE, f"They sang. {NOT_FINITE}", 2)
    assert run(spark, settings).counts["library_quarantined"] == 2
    assert (stored("a"), stored("b")) == ([("Moors.", 1)], [shared, sang])
    assert attempts() == {"a": 1, "b": 1}
    # The text of a is tried again only if a person asks for it.
    assert run(spark, settings).counts["unchanged"] == 2
    # A good text of b that shares a chunk with the stored text: the chunk stays and gets the payload that it missed.
    write(NOT_FINITE, "They left.", 2)
    counts = run(spark, settings, retry_quarantined=True).counts
    assert (counts["retry"], counts["changed"]) == (1, 1)
    assert attempts() == {"a": 2}
    assert (stored("a"), stored("b")) == ([("Moors.", 1)], [(shared[0], 2), ("They left.", 2)])
    # The attempts of a are used up, so this run does not touch it; the rows of b are removed.
    write(NOT_FINITE, f"They left. {NOT_FINITE}", 2)
    counts = run(spark, settings_for(on_failed_update="remove"), retry_quarantined=True).counts
    assert (counts["retry"], counts["changed"], counts["unchanged"]) == (0, 1, 1)
    assert (stored("a"), stored("b")) == ([("Moors.", 1)], [])


def test_a_model_that_makes_other_vectors_is_refused(
    spark: SparkSession, write_json: WriteJson, loaded: Loaded
) -> None:
    settings = loaded(OWLS_AND_BEES)
    tables = space_tables(spark, settings)
    with delta_session(spark):
        turned = tables.read("vectors").withColumn("embedding", F.reverse("embedding"))
        before = texts(settings)
        turned.localCheckpoint().writeTo(tables.name("vectors")).overwrite(F.lit(True))
    write_json([{"id": "a", "text": "Owls."}, {"id": "b", "text": "Elms."}])
    with pytest.raises(InputError, match=r"2 of 2 texts differ, lowest cosine .*name a new space"):
        run(spark, settings)
    assert texts(settings) == before


# Worth its time: it has one slice for each document.
def test_texts_that_stand_elsewhere_are_not_embedded_again(
    spark: SparkSession,
    write_json: WriteJson,
    make_settings: MakeSettings,
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files: list[int] = []
    commit = slices.commit_slice

    def count_files(run_: Any, slice_: Any, plan: Any, chunks: Any, staged: Any, *rest: Any, **named: Any) -> None:
        files.append(len([file for file in staged.inputFiles() if "/staged_vectors/" in file]))
        commit(run_, slice_, plan, chunks, staged, *rest, **named)

    loaded(OWLS_AND_BEES)
    monkeypatch.setattr(slices, "commit_slice", count_files)
    after = [{"id": n, "text": text} for n, text in (("b", "Owls."), ("c", "Bees."), ("d", "Elms."), ("e", "Elms."))]
    # One slice per document: texts are removed from `vectors` in one slice and looked up in another.
    settings = make_settings(write_json(after), run={"slice_tokens": 1})
    report = run(spark, settings, allow_removals=True)
    counts = {name: report.counts[name] for name in ("added", "changed", "removed", "chunks", "chunks_embedded")}
    assert counts == {"added": 3, "changed": 1, "removed": 1, "chunks": 4, "chunks_embedded": 1}
    assert report.counts["slices"] > 3
    assert report.counts["tokens_saved"] == 3 * report.counts["tokens_embedded"]
    assert texts(settings) == [("b", "Owls."), ("c", "Bees."), ("d", "Elms."), ("e", "Elms.")]
    # A slice reads the vectors that it staged, or those of the slice that embedded its text, and no others.
    assert max(files) == 1 and sum(files) == 4


def test_rows_that_vanished_are_named_and_the_next_run_makes_them_good(spark: SparkSession, loaded: Loaded) -> None:
    settings = loaded(OWLS_AND_BEES)
    name = space_tables(spark, settings).name("vectors")
    spark.sql(f"DELETE FROM {name} WHERE doc_id = 'b'")
    with pytest.raises(ReconciliationError, match=r"disagree about 1 documents, such as 'b' \(ledger 1, stored None\)"):
        run(spark, settings)
    assert run(spark, settings).counts["retry"] == 1
    assert texts(settings) == [("a", "Owls."), ("b", "Bees.")]


def test_an_emptied_source_removes_nothing_until_a_person_says_so(
    spark: SparkSession, tmp_path: Path, make_settings: MakeSettings, loaded: Loaded
) -> None:
    loaded(OWLS_AND_BEES)
    library = Library(tmp_path / "emptied", seed=1)
    library.publish()
    settings = make_settings(str(library.folder), source={"format": "delta"}, run={"max_removed_fraction": 1.0})
    before = DeltaTable(space(settings) / "vectors").version()
    with pytest.raises(InputError, match="2 of 2 documents are gone from the source, which has none left"):
        run(spark, settings)
    assert DeltaTable(space(settings) / "vectors").version() == before
    assert run(spark, settings, allow_removals=True).counts["removed"] == 2
    assert texts(settings) == []


# Worth its time: both methods go through all kinds of edits.
def test_feed_and_comparison_find_the_same_work(
    spark: SparkSession, tmp_path: Path, make_settings: MakeSettings
) -> None:
    library = Library(tmp_path / "source", seed=6)
    library.change(500)
    library.publish()

    def settings_for(track: str) -> Settings:
        source = {"format": "delta", "payload_columns": ["n"], "filter": "n < 6 and id is not null", "track": track}
        own = {"max_quarantined_fraction": 1.0}
        return make_settings(str(library.folder), store={"path": str(tmp_path / track)}, source=source, run=own)

    run(spark, settings_for("feed"))
    shutil.copytree(tmp_path / "feed", tmp_path / "compare")
    # Several versions, with rows that move in and out of the filter, and rows that are removed and come back.
    for _ in range(4):
        library.change(40)
        library.publish()
    by = {track: run(spark, settings_for(track), allow_removals=True) for track in ("feed", "compare")}
    assert by["feed"].how.startswith("change feed since version")
    assert by["compare"].how == "full comparison"
    times = ("milliseconds", "estimated_seconds")
    feed, compare = ({name: n for name, n in each.counts.items() if name not in times} for each in by.values())
    assert feed == compare
    assert by["feed"].counts["removed"] > 0 < by["feed"].counts["payload"]
    columns = "chunk_id, doc_id, chunk_index, char_start, char_end, text, n, embedding"
    rows = [
        query(space(settings_for(track)) / "vectors", f"select {columns} from t order by chunk_id")
        for track in ("feed", "compare")
    ]
    assert rows[0] == rows[1]

    library.change(10)
    library.publish()
    library.forget_history()
    with pytest.raises(SourceError, match="the change feed has a gap") as caught:
        run(spark, settings_for("feed"), allow_removals=True)
    assert caught.value.exit_code == 5


def follow_rows(tmp_path: Path, make_settings: MakeSettings, **own: Any) -> tuple[Callable[..., None], Settings]:
    """A Delta source with its change feed on; the function appends texts, whose first letter is their id."""
    source = tmp_path / "source"

    def append(*texts: str) -> None:
        rows = pa.table({"id": [text[0].lower() for text in texts], "text": list(texts)})
        write_deltalake(source, rows, mode="append", configuration={"delta.enableChangeDataFeed": "true"})

    return append, make_settings(str(source), source={"format": "delta"}, run={"max_removed_fraction": 1.0, **own})


def test_ids_that_the_feed_repeats_are_refused(
    spark: SparkSession, tmp_path: Path, make_settings: MakeSettings
) -> None:
    append, settings = follow_rows(tmp_path, make_settings)
    append("Owls.", "Bees.")
    run(spark, settings)
    table = DeltaTable(tmp_path / "source")
    # It arrives without having left; both rows are in the source.
    append("Old.")
    before = DeltaTable(space(settings) / "vectors").version()
    with pytest.raises(InputError, match=r"1 ids occur in more than one row, such as \['o'\]"):
        run(spark, settings)
    assert DeltaTable(space(settings) / "vectors").version() == before
    # It leaves and arrives again, in two versions and in one.
    table.update_incremental()
    table.delete("id = 'o'")
    append("Oaks.")
    write_deltalake(
        tmp_path / "source", pa.table({"id": ["b"], "text": ["Bats."]}), mode="overwrite", predicate="id = 'b'"
    )
    report = run(spark, settings)
    assert report.how == "change feed since version 0"
    assert texts(settings) == [("b", "Bats."), ("o", "Oaks.")]


def test_a_ledger_that_does_not_fit_the_feed_is_compared_in_full(
    spark: SparkSession, tmp_path: Path, make_settings: MakeSettings
) -> None:
    append, settings = follow_rows(tmp_path, make_settings)
    append("Owls.", "Bees.")
    run(spark, settings)
    spark.sql(f"DELETE FROM {space_tables(spark, settings).name('ledger')} WHERE doc_id = 'b'")
    append("Elms.")
    report = run(spark, settings)
    assert report.how.startswith("full comparison: its rows and the ledger contradict each other")
    assert (report.counts["added"], texts(settings)) == (2, [("b", "Bees."), ("e", "Elms."), ("o", "Owls.")])


def test_every_so_many_runs_everything_is_read(
    spark: SparkSession, tmp_path: Path, make_settings: MakeSettings
) -> None:
    append, settings = follow_rows(tmp_path, make_settings, full_check_every=3)
    append("Owls.", "Bees.")
    run(spark, settings)
    hows = [run(spark, settings).how for _ in range(2)]
    assert hows == ["change feed since version 0", "full comparison: every 3 runs everything is read"]


@pytest.mark.parametrize("document", ["untouched", "touched"])
def test_damage_to_a_large_library_is_noticed_by_a_refresh(
    spark: SparkSession,
    write_json: WriteJson,
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    document: str,
) -> None:
    settings = loaded(OWLS_AND_BEES)
    write_json([{"id": "a", "text": "Elms."}, {"id": "b", "text": "Bees."}])
    name = space_tables(spark, settings).name("vectors")
    # As if it were too large to be read as a whole.
    monkeypatch.setattr("spark_jobs.embedding.store_state._LARGE", 0)

    def damage() -> None:
        other = spark.newSession()
        set_properties(other, SESSION)
        if document == "untouched":
            other.sql(f"DELETE FROM {name} WHERE doc_id = 'b'")
        else:
            # The number of all rows stays what it should be.
            other.sql(f"UPDATE {name} SET doc_id = 'b' WHERE doc_id = 'a'")

    with at(("ledger.after", 1), damage), pytest.raises(ReconciliationError, match="ledger and vectors disagree"):
        run(spark, settings)


@pytest.mark.parametrize("later", [0, 1], ids=["as many versions", "more versions"])
def test_a_source_put_back_from_a_copy_is_compared_in_full(
    spark: SparkSession, tmp_path: Path, make_settings: MakeSettings, later: int
) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"

    def append(*texts: str) -> None:
        rows = pa.table({"id": [text[0].lower() for text in texts], "text": list(texts)})
        write_deltalake(source, rows, mode="append", configuration={"delta.enableChangeDataFeed": "true"})

    settings = make_settings(str(source), source={"format": "delta"}, run={"max_removed_fraction": 1.0})
    append("Owls.", "Bees.")
    run(spark, settings)
    shutil.copytree(source, copy)
    append("Elms.")
    assert run(spark, settings).how == "change feed since version 0"
    shutil.rmtree(source)
    shutil.copytree(copy, source)
    for text in ("Ants.", "Cows.")[: later + 1]:
        append(text)
    report = run(spark, settings)
    assert report.how == "full comparison: the source's version 1 is not the one that the last finished run read"
    assert [text for _, text in texts(settings)] == sorted(["Owls.", "Bees.", "Ants.", "Cows."][: later + 3], key=str)
    assert run(spark, settings).how == f"change feed since version {later + 1}"


def test_a_run_that_is_overtaken_writes_nothing_and_one_that_may_be_alive_is_not_overtaken(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(write_json([{"id": "a", "text": "Owls."}]))
    left: list[list[int]] = []

    def versions() -> list[int]:
        return [DeltaTable(space(settings) / table).version() for table in ("vectors", "ledger")]

    def overtake() -> None:
        # The second run crashes at its start, so everything that the first run staged is still there to be merged.
        with at(("plan.before", 1), crash), pytest.raises(SimulatedCrash):
            run(spark.newSession(), settings, take_over=True)
        left.append(versions())

    with at(("vectors.before", 1), overtake), pytest.raises(RunActiveError, match="has taken over"):
        run(spark, settings)
    assert left == [versions()]
    assert texts(settings) == []
    # The view from another machine, where no lock shows that the second run is dead.
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(RunActiveError, match=r"run toy\.main\.2 .* has not ended, .*--take-over"):
        run(spark, settings)
    stale = settings.model_copy(update={"run": settings.run.model_copy(update={"stale_after_seconds": 0.0})})
    assert run(spark, stale).counts["added"] == 1
    assert texts(settings) == [("a", "Owls.")]


# Worth its time: reading between slices needs several slices.
def test_a_reader_never_sees_half_a_document(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    sentence = "The {} number {} sat in the old elm by the river. "

    def documents(word: str) -> list[Row]:
        return [{"id": f"d{n}", "text": "".join(sentence.format(word, i) for i in range(4))} for n in range(30)]

    source, chunking = write_json(documents("owl")), {"max_tokens": 16}
    run(spark, make_settings(source, chunking=chunking))
    settings = make_settings(source, chunking=chunking, run={"slice_tokens": 900})
    vectors = space(settings) / "vectors"
    start = DeltaTable(vectors).version()
    write_json(documents("bee"))
    worker = threading.Thread(target=run, args=(spark, settings))
    worker.start()
    seen: dict[int, list[Row]] = {}
    while worker.is_alive() or DeltaTable(vectors).version() not in seen:
        version = DeltaTable(vectors).version()
        if version not in seen:
            seen[version] = query(vectors, "select doc_id, text from t")
    worker.join()
    assert len(seen) > 2, "more than one slice"
    assert min(seen) == start
    for version, rows in seen.items():
        words: dict[str, list[str]] = {}
        for row in rows:
            words.setdefault(row["doc_id"], []).append("owl" if "owl" in row["text"] else "bee")
        assert len(words) == 30, version
        assert all(len(set(found)) == 1 and len(found) == 4 for found in words.values()), version
