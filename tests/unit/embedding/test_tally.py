"""What a run adds up as its slices are committed."""

from typing import Any

from schemas.worker_rows import SUMS
from spark_jobs.embedding.slicing import Group, Work
from spark_jobs.embedding.tally import InferenceSummary, Tally
from spark_jobs.embedding.telling import rate_of, state_of


def test_rate_and_counts_cover_all_slices_so_far() -> None:
    work = Work({}, (Group(0, 400, 2, 2), Group(1, 100, 1, 1)), "comparison")
    tally = Tally()
    tally.seconds["embed"] = 10.0
    tally.inference.add(observed(tokens=100.0))
    tally.add_slice({"tokens_embedded": 100, "chunks": 1}, documents=1, tokens=100)
    assert rate_of(work, tally) == "10 tokens/s · 40 s left"
    # The second slice counts from when it is embedded, and not only from its commit.
    tally.seconds["embed"] = 20.0
    tally.inference.add(observed(tokens=300.0))
    assert tally.tokens_per_second == 20.0
    tally.add_slice({"tokens_embedded": 300, "chunks": 1}, documents=1, tokens=300)
    assert rate_of(work, tally) == "20 tokens/s · 5 s left"
    assert state_of(work, tally) == "2 documents · 2 chunks · 400 of about 500 tokens"
    assert tally.counts["slices"] == 2


def observed(**values: Any) -> dict[str, Any]:
    """What one slice's workers measured."""
    names = {"device": "cpu", "dtype": "float32", "backend": "openvino", "backend_note": None}
    none = {"torch_rate": None, "openvino_rate": None, "load_seconds": 0.4, "token_budget": 2048.0}
    numbers = {**dict.fromkeys(SUMS, 0.0), "passes": 1.0, "tokens": 90.0, "computed": 100.0, "forward": 1.0}
    return {**numbers, **none, "peak_mebibytes": 500.0, **names, **values}


def test_the_summary_names_the_backend_and_the_rates_of_both_where_they_were_tried() -> None:
    known = InferenceSummary()
    known.add(observed())
    assert known.line().startswith("cpu float32 by openvino · 2,048 tokens a pass · ")
    known.add(observed(torch_rate=4000.0, openvino_rate=5000.4))
    assert known.line().startswith("cpu float32 by openvino (tokens/s in its trial: torch 4,000, openvino 5,000) · ")
    noted = InferenceSummary()
    noted.add(observed(backend="torch", backend_note="OpenVINO is not installed"))
    assert noted.line().startswith("cpu float32 by torch · ")
    assert noted.line().endswith(" · OpenVINO is not installed")
