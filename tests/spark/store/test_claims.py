"""Runs, maintenance and commits that land late, on a store whose only protection is its record and its fence."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from schemas.errors import ReconciliationError, RunActiveError
from schemas.runs import AT_WORK
from schemas.staged import STAGED_CHUNKS
from schemas.table import Table
from spark_jobs import maintain_space, verify_space
from spark_jobs.embed_library import run
from spark_jobs.runtime.properties import set_properties, unset_properties
from spark_jobs.settings import Settings
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.fence import Fence, transaction
from spark_jobs.store.properties import TRANSACTION
from spark_jobs.store.runs import history, refuse_second
from spark_jobs.store.tables import SpaceTables, delta_session, space_tables
from spark_jobs.store.versions import PinnedVectors, pin_vectors
from tests.support.refresh.machine import at
from tests.support.refresh.oracle import query
from tests.support.template import OWLS_AND_BEES

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

Loaded = Callable[..., Settings]
WriteJson = Callable[..., str]
# A run that stages its work in tables, as large ones do.
STAGED = {"run": {"memory_tokens": 0}}
AFTER = [*OWLS_AND_BEES, {"id": "c", "text": "Elms."}]


@pytest.fixture(autouse=True)
def _without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on an object store: no lock on this machine, and every other process may be on another one."""
    monkeypatch.setattr("spark_jobs.store.locks._lock", lambda *_: None)
    hosts = iter(f"host{number}" for number in range(1000))
    monkeypatch.setattr("socket.gethostname", lambda: next(hosts))


def texts(settings: Settings) -> list[str]:
    rows = query(Path(str(settings.store.path), "toy", "main", "vectors"), "select text from t order by text")
    return [row["text"] for row in rows]


def test_maintenance_shuts_out_the_run_that_it_did_not_see(
    spark: SparkSession, loaded: Loaded, write_json: WriteJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(OWLS_AND_BEES, **STAGED)
    write_json(AFTER)

    def maintain() -> None:
        # It asked the record just before the run opened.
        with monkeypatch.context() as patch:
            patch.setattr("spark_jobs.store.claims.refuse_second", lambda *_, **__: None)
            maintain_space.run(spark.newSession(), settings)

    with at(("plan.after", 1), maintain), pytest.raises(RunActiveError, match=r"toy\.main\.3 has taken over"):
        run(spark, settings)
    assert run(spark, settings).counts["added"] == 1
    assert texts(settings) == ["Bees.", "Elms.", "Owls."]


@pytest.mark.parametrize("work", ["maintain", "repair"])
def test_a_run_is_refused_while_other_work_holds_the_space(
    spark: SparkSession, loaded: Loaded, write_json: WriteJson, work: str
) -> None:
    settings = loaded(OWLS_AND_BEES)
    write_json(AFTER)
    refused: list[str] = []

    def embed() -> None:
        with pytest.raises(RunActiveError) as caught:
            run(spark.newSession(), settings)
        refused.append(str(caught.value))

    with at(("runs.after", 1), embed):
        if work == "maintain":
            maintain_space.run(spark, settings)
        else:
            verify_space.run(spark, settings, repair=True)
    assert len(refused) == 1 and "run toy.main.2 (host" in refused[0] and "has not ended" in refused[0]
    report = run(spark, settings)
    # What maintenance did leaves no doubt about the documents.
    assert (report.counts["added"], report.how) == (1, "full comparison: the source has no versions")


@pytest.mark.parametrize("when", ["before it is read", "before its first slice"])
def test_a_plan_that_somebody_emptied_does_not_pass_for_done(
    spark: SparkSession, loaded: Loaded, write_json: WriteJson, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    settings = loaded(OWLS_AND_BEES, **STAGED)
    # A changed document: the number of documents in the ledger stays what it should be.
    write_json([OWLS_AND_BEES[0], {"id": "b", "text": "Elms."}])
    plan = space_tables(spark, settings).name("plan")

    def empty() -> None:
        spark.newSession().sql(f"DELETE FROM {plan}")

    def pin(tables: SpaceTables) -> PinnedVectors:
        empty()
        return pin_vectors(tables)

    if when == "before it is read":
        with at(("plan.after", 1), empty), pytest.raises(ReconciliationError, match="not the one that was compared"):
            run(spark, settings)
    else:
        with monkeypatch.context() as patch:
            patch.setattr("spark_jobs.embedding.refresh.pin_vectors", pin)
            with pytest.raises(ReconciliationError, match="1 documents were planned, and the ledger has rows of 0 of"):
                run(spark, settings)
    assert run(spark, settings).counts["changed"] == 1
    assert texts(settings) == ["Elms.", "Owls."]


@pytest.mark.parametrize("point", ["staged_chunks.before", "staged_vectors.before"])
def test_a_run_that_is_overtaken_while_it_stages_ends(
    spark: SparkSession, loaded: Loaded, write_json: WriteJson, point: str
) -> None:
    settings = loaded(OWLS_AND_BEES, **STAGED)
    write_json(AFTER)

    def overtake() -> None:
        run(spark.newSession(), settings, take_over=True)

    with at((point, 1), overtake), pytest.raises(RunActiveError, match=r"toy\.main\.3 has taken over"):
        run(spark, settings)
    assert texts(settings) == ["Bees.", "Elms.", "Owls."]


# Worth its time: a run ends while its server goes on, and its commit lands after the next run has looked.
@pytest.mark.parametrize("end", [ConnectionError, SimulatedCrash], ids=["fails", "dies"])
def test_a_commit_of_a_run_that_did_not_finish_is_skipped_if_it_lands_late(
    spark: SparkSession,
    loaded: Loaded,
    write_json: WriteJson,
    monkeypatch: pytest.MonkeyPatch,
    end: type[BaseException],
) -> None:
    settings = loaded(OWLS_AND_BEES, **STAGED)
    write_json(AFTER)
    name = space_tables(spark, settings).name("vectors")
    late: list[tuple[DataFrame, dict[str, str | None]]] = []

    append = SpaceTables.append

    def lose(tables: SpaceTables, rows: DataFrame, table: Table, *numbered: Any) -> None:
        if table.name != "vectors":
            append(tables, rows, table, *numbered)
            return
        late.append((rows.localCheckpoint(), {key: spark.conf.get(key) for key in TRANSACTION}))
        raise end("the server does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(SpaceTables, "append", lose)
        with pytest.raises(end):
            run(spark, settings)
    ((rows, transaction),) = late

    def land() -> None:
        own = {key: spark.conf.get(key, None) for key in TRANSACTION}
        set_properties(spark, {key: str(value) for key, value in transaction.items()})
        rows.writeTo(name).append()
        unset_properties(spark, TRANSACTION)
        set_properties(spark, {key: value for key, value in own.items() if value is not None})

    # The run has looked for stored chunks of its documents, and appends theirs next.
    with at(("staged_chunks.after", 1), land):
        assert run(spark, settings, take_over=True).counts["added"] == 1
    assert texts(settings) == ["Bees.", "Elms.", "Owls."]


# Worth its time: a slow machine must not take longer for a beat than others wait for one.
def test_a_run_is_known_to_live_while_a_long_slice_embeds(
    spark: SparkSession, loaded: Loaded, write_json: WriteJson
) -> None:
    settings = loaded(OWLS_AND_BEES, **STAGED)
    write_json(AFTER)
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"stale_after_seconds": 12.0})})
    refusals: list[str] = []

    def look() -> None:
        time.sleep(16)
        with pytest.raises(RunActiveError) as caught, delta_session(spark):
            refuse_second(history(space_tables(spark, settings))[0], settings, take_over=False)
        refusals.append(str(caught.value))

    with at(("staged_vectors.before", 1), look):
        run(spark, settings)
    assert len(refusals) == 1 and "run toy.main.2 (host" in refusals[0]
    record = Path(str(settings.store.path), "_embedlake", "runs")
    beats = query(record, f"select event from t where event = '{AT_WORK}' and run_number = 2")
    # One by one: none counts as a repetition of another, or of the commit that waits meanwhile.
    assert len(beats) >= 4
    assert texts(settings) == ["Bees.", "Elms.", "Owls."]


def test_an_append_with_a_number_of_its_own_ignores_the_one_of_the_session(spark: SparkSession, loaded: Loaded) -> None:
    settings = loaded(OWLS_AND_BEES, **STAGED)
    tables, table = space_tables(spark, settings), STAGED_CHUNKS
    fence, row = Fence("toy.main", 50), [("r", 1), ("s", 2)]
    rows = spark.createDataFrame(row, "run_id string, slice_number int")
    rows = spark.createDataFrame([], table.schema).unionByName(rows, allowMissingColumns=True)
    # Another thread is at a commit that has a higher number.
    with delta_session(spark), transaction(spark, "toy.main", 99 << 32, "toy.main.99"):
        tables.append(rows, table, fence.options())
        tables.append(rows, table, fence.options())
    assert tables.read(table.name).count() == 4
    made = DeltaTable(Path(str(settings.store.path), "toy", "main", table.name))
    assert made.transaction_version("toy.main") == (50 << 32) + 2
    assert [entry["userMetadata"] for entry in made.history(2)] == ["toy.main.50"] * 2
    # Delta skips a number that is not above the highest.
    tables.append(rows, table, Fence("toy.main", 50).options())
    assert tables.read(table.name).count() == 4
