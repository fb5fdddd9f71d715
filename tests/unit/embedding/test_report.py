"""What the summary of a run says about precision, and about tokens that the model does not know."""

from collections import Counter

from spark_jobs.embedding.report import RunReport, int8_notes, unread_warning
from spark_jobs.embedding.tally import InferenceSummary
from udfs.models.source import describe_model
from udfs.quantization import Ranges
from udfs.specs import InferenceSpec

MEASURED: Ranges = ((-0.5, -0.4), (0.3, 0.6))
WIDENED: Ranges = ((-1.0, -1.0), (1.0, 1.0))


def notes(clipped: int, ranges: Ranges = MEASURED, embedded: int = 60) -> list[tuple[str, str]]:
    inference = InferenceSpec(model=describe_model("fake:2", precision="int8"), ranges=ranges)
    return int8_notes({"values_clipped": clipped, "chunks_embedded": embedded, "chunks_failed": 10}, inference)


def test_clipped_values_are_shown_as_a_share_and_warned_about_above_two_percent() -> None:
    (line,) = notes(2)
    assert line[0] == "int8"
    assert line[1].startswith("2.00% of values clipped · ranges measured at the space's first run; a rebuild has its")
    _, warning = notes(3)
    assert warning[0] == "warning"
    assert warning[1].startswith("3.0% of this run's values lie outside the space's int8 ranges")
    assert "Embed the library into a new space" in warning[1]


def test_ranges_of_too_few_texts_are_named_and_a_run_without_work_has_no_share() -> None:
    ((_, line),) = notes(0, WIDENED, embedded=10)
    assert line.startswith("0.00% of values clipped · ranges widened at the space's first run")


def test_a_library_that_the_model_can_hardly_read_is_warned_about() -> None:
    assert unread_warning(Counter(chunks=0, chunks_unread=0)) == ""
    assert unread_warning(Counter(chunks=1000, chunks_unread=10)) == ""
    # Of chunks that another space has cut, nobody has counted what is unknown.
    for taken in (0, 5000):
        warning = unread_warning(Counter(chunks=1000 + taken, chunks_taken=taken, chunks_unread=11))
        assert warning.startswith("the model can hardly read 11 of 1,000 chunks")


def test_unknown_tokens_are_shown_where_there_are_any() -> None:
    def tokens(unknown: int, taken: int = 0) -> str:
        counts = Counter(tokens_embedded=30, tokens_saved=10, tokens_unknown=unknown, tokens_taken=taken)
        return dict(RunReport("toy.main.1", "", "t", counts, {}, InferenceSummary()).lines())["tokens"]

    assert tokens(0) == "30 embedded · 10 saved"
    assert tokens(3) == "30 embedded · 10 saved · 7.5% unknown to the model"
    assert tokens(3, taken=10) == "30 embedded · 10 saved · 10.0% unknown to the model"
