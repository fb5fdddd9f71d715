"""What the summary of a run says about precision."""

from spark_jobs.embedding.report import int8_notes
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
