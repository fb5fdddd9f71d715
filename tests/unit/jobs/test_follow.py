"""Which settings one session can follow, which exit code a person sees, and what is not taken for a fault."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.errors import InputError, StoppedError
from spark_jobs.cli import app
from spark_jobs.embedding import following
from spark_jobs.embedding.following import Followed, Waiting, follow
from spark_jobs.follow_library import load_all, worst
from spark_jobs.settings import as_settings

GOOD = """
library: {library}
store: {{path: {store}}}
source: {{format: parquet, path: ./books, id_column: id, text_columns: [body]}}
model: {{path: "fake:8"}}
spark: {{master: "{master}"}}
"""


def written(path: Path, library: str = "books", store: str = "/lake", master: str = "local[2]") -> Path:
    path.write_text(GOOD.format(library=library, store=store, master=master))
    return path


def test_spaces_are_named_by_their_file_where_their_own_name_is_not_enough(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.yaml"), written(tmp_path / "b.yaml", store="/other")
    three = written(tmp_path / "c.yaml", library="films")
    assert list(load_all([one], None)) == ["books.main"]
    loaded = load_all([one, two, three], ["follow.poll_seconds=5"])
    assert list(loaded) == [f"{one} books.main", f"{two} books.main", "films.main"]
    assert {settings.follow.poll_seconds for settings in loaded.values()} == {5}


def test_files_that_name_one_space_or_another_session_are_refused_together(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.yaml"), written(tmp_path / "b.yaml")
    three = written(tmp_path / "c.yaml", library="films", master="local[4]")
    with pytest.raises(InputError) as caught:
        load_all([one, two, three], None)
    assert caught.value.faults == (
        f"{one} and {two} name the same space books.main. Give each a space of its own.",
        f"{one} and {three} have different settings in spark, but one session follows both. Make them equal, or start "
        "a command for each.",
    )


def test_faults_of_several_files_are_reported_at_once_with_their_files(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.yaml", library="a b"), tmp_path / "none.yaml"
    with pytest.raises(InputError) as caught:
        load_all([one, two], None)
    first, second = caught.value.faults
    assert first.startswith(f"{one}: library: ")
    assert second == f"{two}: settings file {two} cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--once", "--until-idle"], "--once and --until-idle exclude each other. Choose one."),
        (["--set", "follow.poll_seconds=0"], "follow.poll_seconds: should be greater than 0, not 0"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_spark_starts(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    config = written(tmp_path / "a.yaml")
    result = CliRunner().invoke(app, ["follow", "--config", str(config), *arguments])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"embedlake: {message}\n")


@pytest.mark.parametrize(
    ("codes", "expected"), [([0], 0), ([4, 0], 4), ([4, 1, 0], 1), ([1, 3, 4], 3), ([2, 4], 2), ([2, 6, 5], 6)]
)
def test_a_fault_that_needs_a_person_is_not_hidden_by_one_that_goes_by_itself(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected


class Gone:
    """A session that ends some questions after the first one: then, the connection is refused."""

    def __init__(self, answers: int) -> None:
        self.answers, self.conf = answers, self

    def get(self, *_: object) -> str:
        if not self.answers:
            raise ConnectionRefusedError(111, "Connection refused")
        self.answers -= 1
        return "UTC"

    range = get


SETTINGS = as_settings(
    {
        "library": "books",
        "store": {"path": "/lake"},
        "source": {"format": "delta", "path": "/books", "id_column": "id", "text_columns": ["body"]},
        "model": {"path": "fake:8"},
    }
)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, cause: BaseException | None = None) -> None:
    def fail(*_: object) -> str:
        if cause is None:
            raise error
        try:
            raise cause
        finally:
            raise error

    monkeypatch.setattr(following, "source_state", fail)


# Also while it pauses after a fault, when a source that cannot be found is nothing new.
@pytest.mark.parametrize("failures", [0, 1])
def test_a_session_that_is_gone_ends_the_follower(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    failing(monkeypatch, InputError("the source cannot be read"))
    session: Any = Gone(answers=1)
    with pytest.raises(ConnectionRefusedError):
        next(follow(session, [Followed("books.main", SETTINGS, failures=failures, try_at=1e18)]))


def test_a_session_that_goes_while_nothing_changes_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "source_state", lambda *_: "3 files")
    session: Any = Gone(answers=2)
    events = follow(
        session, [Followed("books.main", SETTINGS, done="3 files", runs=1)], now=iter(range(10**6)).__next__
    )
    with pytest.raises(ConnectionRefusedError):
        for event in events:
            assert isinstance(event, Waiting)


def test_a_signal_that_breaks_a_question_ends_the_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a signal in the middle of a call of Java does it.
    failing(monkeypatch, ConnectionError("the answer did not come"), StoppedError(15))
    session: Any = Gone(answers=9)
    with pytest.raises(StoppedError):
        next(follow(session, [Followed("books.main", SETTINGS)]))
