"""What a person sees of a run of several spaces: a block or a fault for each, and the exit code that matters most."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.errors import InputError, RunActiveError
from spark_jobs import embed_library
from spark_jobs.cli import app
from spark_jobs.embedding.report import RunReport
from spark_jobs.embedding.several_spaces import SpaceOutcome
from spark_jobs.embedding.tally import InferenceSummary
from spark_jobs.runtime import command

SETTINGS = """
library: books
spaces: [main, {name: next, model: {path: "fake:16"}}, third]
store: {path: /lake}
source: {format: parquet, path: ./books, id_column: id, text_columns: [body]}
model: {path: "fake:8"}
"""


def test_each_space_has_its_block_or_its_fault_and_the_worst_code_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def run_spaces(_: object, spaces: Any, **options: Any) -> Iterator[SpaceOutcome]:
        given.extend((each.space, each.model.path) for each in spaces)
        given.append((options["allow_removals"], options["take_over"]))
        yield SpaceOutcome("books.main", RunReport("books.main.3", "", "t", Counter(), {}, InferenceSummary()))
        yield SpaceOutcome("books.next", error=InputError("the model cannot be used. Choose another one."))
        yield SpaceOutcome("books.third", error=RunActiveError("another run is active. Wait for it."))

    monkeypatch.setattr(command, "session", lambda *_: None)
    monkeypatch.setattr(embed_library, "run_spaces", run_spaces)
    config = tmp_path / "settings.yaml"
    config.write_text(SETTINGS)
    result = CliRunner().invoke(app, ["embed", "--config", str(config), "--allow-removals"])
    assert given == [("main", "fake:8"), ("next", "fake:16"), ("third", "fake:8"), (True, False)]
    assert [line.split()[-1] for line in result.stdout.splitlines() if line.startswith("run ")] == ["books.main.3"]
    faults = [line for line in result.stderr.splitlines() if line.startswith("embedlake: ")]
    assert faults == [
        "embedlake: space books.next: the model cannot be used. Choose another one.",
        "embedlake: space books.third: another run is active. Wait for it.",
    ]
    assert result.exit_code == 2
