"""What is printed at the end of an export."""

from dataclasses import replace

from spark_jobs.export.report import ExportReport

DONE = ExportReport(
    target="faiss:/out",
    space="toy.main",
    version=12,
    rows=1234,
    plan="incremental: by the change feed since version 9",
    sent=1001,
    removed=3,
    recall=0.9876,
    notes=("The index is flat.",),
    seconds={"open": 1.25, "send": 2.0},
)


def test_the_report_has_every_line_of_an_export() -> None:
    assert str(DONE).splitlines() == [
        "target     faiss:/out",
        "space      toy.main · 1,234 rows of vectors at version 12",
        "plan       incremental: by the change feed since version 9",
        "rows       1,001 sent · 3 removed",
        "recall     0.988 of the 10 nearest of 50 stored vectors, against exact search",
        "note       The index is flat.",
        "seconds    3: open 1.2 · send 2.0",
    ]


def test_a_dry_run_says_what_would_be_sent() -> None:
    lines = str(replace(DONE, is_dry=True, recall=None, notes=())).splitlines()
    assert lines[3] == "rows       1,001 would be sent · 3 would be removed · nothing was changed"
    assert len(lines) == 5


def test_the_report_says_when_there_is_nothing_to_do() -> None:
    lines = str(replace(DONE, sent=0, removed=0, recall=None)).splitlines()
    assert lines[3] == "rows       nothing to send and nothing to remove"


def test_a_small_library_is_checked_with_the_rows_it_has() -> None:
    assert "of 7 stored vectors" in str(replace(DONE, rows=7))
