"""Stores of earlier formats are read as they are, brought up to date by a run, and refused if they are newer."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql.types import DoubleType, StringType, StructType
from rich.console import Console

from schemas.errors import InputError
from schemas.format import FORMAT
from schemas.runs import RUNS
from schemas.table import column
from spark_jobs import list_quarantine, list_spaces, plan_library, show_status, verify_space
from spark_jobs.embed_library import run
from spark_jobs.runtime.progress import Progress
from spark_jobs.store.space_facts import chunking_text
from spark_jobs.store.tables import delta_session, space_tables
from tests.stores.make_store import unpacked
from tests.support.refresh.oracle import query

pytestmark = pytest.mark.spark


def files(store: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in store.rglob("*") if path.is_file() and path.suffix != ".lock"}


def properties(table: Path) -> dict[str, Any]:
    return dict(DeltaTable(table).metadata().configuration)


_BACKEND = "inference.torch_rate, inference.openvino_rate, inference.backend, inference.backend_note"


# Worth its time: what a run does with an old store has to be shown on a store that is really old.
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_store_of_an_earlier_format_is_read_as_it_is_and_brought_up_to_date(
    spark: SparkSession, tmp_path: Path, number: int
) -> None:
    settings, store = unpacked(f"format-{number}.tar.gz", tmp_path), tmp_path / "store"
    before, shown = files(store), Console(file=StringIO(), width=400)
    show_status.run(spark, settings, shown)
    list_quarantine.run(spark, settings, shown)
    assert [(each.space, each.state) for each in list_spaces.run(spark, settings)] == [("main", "active")]
    assert "1 added · 0 changed" in shown.file.getvalue()  # type: ignore[attr-defined]
    plan = plan_library.run(spark, settings).outlook
    assert (plan.documents["added"], plan.documents["unchanged"], plan.is_unfinished) == (1, 2, True)
    assert files(store) == before

    said = Console(file=StringIO(), width=400)
    report = run(spark, settings, progress=Progress(said), take_over=True)
    # The rook's text was embedded before the crash; since format 3 a small run holds its work in memory.
    embedded = int(number >= 3)
    assert (report.counts["added"], report.counts["unchanged"], report.counts["chunks_embedded"]) == (1, 2, embedded)
    vectors = store / "birds" / "main" / "vectors"
    rows = query(vectors, "select doc_id, text, legs, run_id from t order by doc_id")
    assert [tuple(row.values()) for row in rows] == [
        ("owl", "Owls hunt at dusk.", 2, "birds.main.2"),
        ("rook", "Rooks nest in elms.", 2, "birds.main.4"),
        ("wren", "Wrens sing all year.", 4, "birds.main.2"),
    ]
    lines = said.file.getvalue()  # type: ignore[attr-defined]
    if number == 1:
        assert "table staged_vectors of an earlier version: added run_number, slice_number" in lines
        assert "table plan of an earlier version: added stored_chunks" in lines
    assert (f"table runs of an earlier version: added {_BACKEND}" in lines) == (number < 3)
    told = "table spaces of an earlier version: added number, change, changed_at, changed_by, reason, figures"
    assert (told in lines) == (number < 4)
    changed = ("birds/main/plan", "birds/main/staged_vectors", "_embedlake/runs")
    for table in ("_embedlake/spaces", *changed[{1: 0, 2: 2, 3: 3, 4: 3}[number] :]):
        assert properties(store / table)["embedlake.format"] == str(FORMAT)
    names = [field.name for field in DeltaTable(store / "birds" / "main" / "staged_vectors").schema().fields]
    assert names[:3] == ["run_number", "slice_number", "text_hash"]

    # The rules of chunking have had numbers since. The run above went by the store's own, and so does this check.
    verify_space.run(spark, settings)
    (space,) = list_spaces.run(spark, settings)
    assert "rules" not in space.chunking and chunking_text(space.chunking).endswith("tokens, rules 1")
    newer = settings.model_copy(update={"chunking": settings.chunking.model_copy(update={"rules": 2})})
    with pytest.raises(InputError, match=r"space main was chunked by another rule \(rules was 1, is 2\)"):
        run(spark, newer)


def test_columns_are_added_to_tables_of_the_store_and_a_newer_store_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    settings = unpacked("format-1.tar.gz", tmp_path)
    tables, said = space_tables(spark, settings), list[str]()
    (meter,) = [field for field in RUNS.schema if field.name == "inference"]
    deeper = StructType([meter.dataType[0], column("watts", DoubleType(), "x"), *meter.dataType.fields[1:]])  # type: ignore[index, attr-defined]
    fields = [column("inference", deeper, "x") if field.name == "inference" else field for field in RUNS.schema]
    later = replace(RUNS, schema=StructType([column("region", StringType(), "the cloud's region"), *fields]))
    with delta_session(spark):
        assert not tables.ensure(later, said.append)
        assert not tables.ensure(later, said.append)
        assert spark.table(tables.name("runs")).schema.simpleString() == later.schema.simpleString()
        assert tables.read("runs").where("region is null and event = 'started'").count() == 3
        other = replace(RUNS, schema=StructType([column("event", DoubleType(), "x"), *fields[5:]]))
        with pytest.raises(InputError, match=r"column event is string, expected double\. Something other than"):
            tables.ensure(other)
    assert said == [f"table runs of an earlier version: added region, inference.watts, {_BACKEND}"]

    spaces = tables.name("spaces")
    assert properties(tmp_path / "store" / "_embedlake" / "spaces")["embedlake.format"] == str(FORMAT)
    spark.sql(f"ALTER TABLE {spaces} SET TBLPROPERTIES ('embedlake.format' = '{FORMAT + 1}')")
    told = (
        f"the store at {tmp_path / 'store'} has format {FORMAT + 1}, and this version of embedlake knows formats up to "
        f"{FORMAT}. Install the version that wrote to it last, or a later one."
    )
    for job in (run, lambda *arguments: show_status.run(*arguments, Console(file=StringIO()))):
        with pytest.raises(InputError) as caught:
            job(spark, settings)
        assert str(caught.value) == told
