"""What `embedlake plan` says of a run, and what the run then does; caps that end a run early."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import CapReachedError, InputError
from schemas.plan import CHANGES
from schemas.runs import CAPPED, FINISHED, SLICE_COMMITTED
from spark_jobs import plan_library, show_status
from spark_jobs.embed_library import run
from spark_jobs.embedding.following import Followed, follow
from spark_jobs.settings import Settings
from spark_jobs.store.tables import delta_session
from tests.support.command import Command
from tests.support.refresh.oracle import query

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

WriteJson = Callable[..., str]
MakeSettings = Callable[..., Settings]
Loaded = Callable[..., Settings]

WORDS = "owl mouse barn night wing field hedge moon feather silence"


def text_of(number: int) -> str:
    return " ".join(f"{word}{number}" for word in WORDS.split()) + "."


def files_of(settings: Settings) -> set[Path]:
    # Spark writes checksums of what it reads nowhere; every file of the store counts.
    return {path for path in Path(str(settings.store.path)).rglob("*") if path.is_file()}


def rows(settings: Settings, table: str, space: str = "main") -> list[dict[str, Any]]:
    folder = Path(str(settings.store.path), settings.library, space, table)
    columns = "doc_id, chunk_index, text, embedding" if table == "vectors" else "doc_id, text_hash, status, chunk_count"
    return query(folder, f"select {columns} from t order by 1, 2")


def recorded(settings: Settings) -> list[dict[str, Any]]:
    events = query(
        Path(str(settings.store.path), "_embedlake", "runs"),
        "select run_number, event, counts from t order by run_number, event_time",
    )
    return [{**row, "counts": dict(row["counts"] or [])} for row in events]


def test_a_plan_counts_what_the_run_then_does_and_writes_nothing(
    spark: SparkSession, write_json: WriteJson, loaded: Loaded
) -> None:
    # Numbers of as many digits, so that all texts have as many characters for each word.
    documents = [{"id": f"d{number:02}", "text": text_of(10 + number)} for number in range(30)]
    settings = loaded(documents)
    moved = {"id": "moved", "text": documents[0]["text"]}
    new = [{"id": f"n{number}", "text": text_of(50 + number)} for number in range(8)]
    edited = [{**each, "text": f"Edited. {each['text']}"} for each in documents[2:5]]
    write_json([*documents[5:], *edited, *new, moved])

    before = files_of(settings)
    plan = plan_library.run(spark, settings).outlook
    assert files_of(settings) == before
    wanted = {"added": 9, "changed": 3, "retry": 0, "payload": 0, "removed": 2, "unchanged": 25}
    assert plan.documents == wanted
    assert plan.examples == {
        "added": ["moved", "n0", "n1"],
        "changed": ["d02", "d03", "d04"],
        "removed": ["d00", "d01"],
    }
    assert plan.is_held and plan.slices == 1 and plan.has_work and not plan.faults and not plan.is_unfinished

    report = run(spark, settings)
    counts = report.counts
    assert {name: counts[name] for name in wanted} == wanted
    # The text that moved is found and not embedded again.
    tokens = counts["tokens_embedded"]
    assert counts["tokens_saved"] and abs(plan.forecast.embedded / tokens - 1) < 0.05
    assert abs(plan.forecast.tokens / (tokens + counts["tokens_saved"]) - 1) < 0.05
    assert plan.forecast.seconds is not None and plan.forecast.runs == 1
    # The run's own forecast stands beside what it became.
    assert counts["estimated_tokens"] == plan.forecast.embedded
    assert f"{counts['estimated_tokens']:,} tokens to embed, " in str(report)

    after = plan_library.run(spark, settings)
    assert not after.outlook.has_work and "nothing to do" in str(after) and after.outlook.slices == 0


def test_a_plan_before_the_first_run_reckons_with_a_given_rate(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    documents = [{"id": f"d{number}", "text": text_of(number)} for number in range(20)]
    settings = make_settings(write_json(documents), cost={"per_hour": 3600, "currency": "EUR"})
    plan = plan_library.run(spark, settings)
    assert plan.outlook.forecast.seconds is None and plan.outlook.price is None
    assert "Give a rate by --tokens-per-second" in str(plan)
    # Counted on the documents themselves: the fake model takes each word for a token.
    cut = plan.outlook.forecast.tokens
    priced = plan_library.run(spark, settings, tokens_per_second=10.0).outlook
    assert priced.forecast.seconds is not None and priced.price == pytest.approx(priced.forecast.seconds)
    assert priced.forecast.seconds > cut / 10
    assert not files_of(settings)

    report = run(spark, settings)
    assert abs(cut / report.counts["tokens_embedded"] - 1) < 0.02
    # There was nothing to forecast it by.
    assert "estimated_tokens" not in report.counts


def test_a_plan_says_where_a_run_would_stop(spark: SparkSession, write_json: WriteJson, loaded: Loaded) -> None:
    documents = [{"id": f"d{number}", "text": text_of(number)} for number in range(10)]
    settings = loaded(documents)
    write_json(documents[:3])
    plan = plan_library.run(spark, settings)
    assert plan.outlook.documents["removed"] == 7
    assert "a run would stop here: 7 of 10 documents are gone" in str(plan)
    assert not plan_library.run(spark, settings, allow_removals=True).outlook.faults
    write_json([documents[0], documents[0]])
    with pytest.raises(InputError, match="occur in more than one row"):
        plan_library.run(spark, settings)


def test_capped_runs_end_in_the_table_of_one_without_a_cap(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    documents = [{"id": f"d{number:03}", "text": text_of(number)} for number in range(24)]
    path = write_json(documents)
    whole = make_settings(path)
    expected = run(spark, whole).counts["tokens_embedded"]
    cap = expected // 3
    capped = make_settings(path, run={"max_tokens": cap}).model_copy(update={"space": "capped"})

    messages = []
    for _ in range(10):
        try:
            last = run(spark, capped)
            break
        except CapReachedError as error:
            messages.append(str(error))
    else:
        raise AssertionError("the capped runs never came to their end")
    assert len(messages) >= 2 and all("are left. Run again to go on." in each for each in messages)
    assert f"ended at run.max_tokens {cap:,}" in messages[0]
    for table in ("vectors", "ledger"):
        assert rows(whole, table) == rows(capped, table, "capped")

    mine = [row for row in recorded(capped) if row["counts"].get("slots") and row["event"] == CAPPED]
    spent = [row["counts"]["tokens_embedded"] for row in mine]
    assert len(mine) == len(messages)
    # A slice is chosen by an estimate of its tokens, which is a few per cent off.
    assert all(0 < tokens <= cap * 1.1 for tokens in spent)
    assert sum(spent) + last.counts["tokens_embedded"] == expected
    ends = [row["event"] for row in recorded(capped) if row["event"] in (CAPPED, FINISHED)]
    assert ends == [FINISHED, *[CAPPED] * len(messages), FINISHED] or set(ends) == {CAPPED, FINISHED}
    assert any(row["event"] == SLICE_COMMITTED for row in recorded(capped))

    out = io.StringIO()
    show_status.run(spark, capped, Console(file=out, width=400))
    assert out.getvalue().count("ended at run.max_tokens") == len(messages)


def test_a_cap_below_the_smallest_slice_commits_nothing_and_says_so(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    documents = [{"id": f"d{number}", "text": text_of(number)} for number in range(4)]
    settings = make_settings(write_json(documents), run={"max_tokens": 2})
    with pytest.raises(CapReachedError, match=r"before its first commit: 4 documents .* Raise the cap to go on\."):
        run(spark, settings)
    assert plan_library.run(spark, settings).outlook.capped_tokens == 2
    # A follower does not spend it again and again.
    with delta_session(spark), pytest.raises(CapReachedError):
        list(follow(spark, [Followed("toy.main", settings)], until="once"))
    # Documents without text to embed cost nothing.
    assert run(spark, settings.model_copy(update={"run": settings.run.model_copy(update={"max_tokens": None})}))
    write_json(documents[:3])
    assert run(spark, settings).counts["removed"] == 1


def test_a_cap_on_the_price_ends_a_run_by_its_rate(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    documents = [{"id": f"d{number}", "text": text_of(number)} for number in range(10)]
    # A second costs 1, and every run takes longer.
    settings = make_settings(write_json(documents), run={"max_cost": 1}, cost={"per_hour": 3600})
    with pytest.raises(CapReachedError, match=r"run\.max_cost 1 USD"):
        run(spark, settings)
    rich = settings.model_copy(update={"run": settings.run.model_copy(update={"max_cost": 10_000.0})})
    assert run(spark, rich).counts["library_embedded"] == 10
    assert CHANGES[0] in plan_library.run(spark, rich).outlook.documents


def test_the_command_tells_schedulers_whether_there_is_work(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(write_json([{"id": f"d{number}", "text": text_of(number)} for number in range(3)]))
    values = settings.model_dump(by_alias=True, exclude_none=True, exclude={"space"})
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps({**values, "spaces": ["main", "next"]}))
    embedlake, arguments = Command(spark), ("--config", file, "--json", "--detailed-exitcode")

    both = embedlake("plan", *arguments)
    assert both.returncode == 10, both.stderr
    assert [(plan["space"], plan["documents"]["added"], plan["has_work"]) for plan in json.loads(both.stdout)] == [
        ("main", 3, True),
        ("next", 3, True),
    ]
    assert embedlake("embed", "--config", file, "--set", "space=main").returncode == 0
    one = embedlake("plan", *arguments, "--set", "space=main")
    assert one.returncode == 0, one.stderr
    assert json.loads(one.stdout)["documents"]["unchanged"] == 3
    refused = embedlake(
        "plan", "--config", file, "--set", "space=main", "--set", "source.filter=id != 'd0' and id != 'd1'"
    )
    assert refused.returncode == 2 and "2 removed" in refused.stdout and "2 of 3 documents are gone" in refused.stderr
