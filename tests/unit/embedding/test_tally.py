"""What a run adds up as its slices are committed."""

from spark_jobs.embedding.slices import rate_of, state_of
from spark_jobs.embedding.slicing import Group, Work
from spark_jobs.embedding.tally import Tally


def test_rate_and_counts_cover_all_slices_so_far() -> None:
    work = Work({}, (Group(0, 400, 2, 2), Group(1, 100, 1, 1)), "comparison")
    tally = Tally()
    tally.seconds["embed"] = 10.0
    tally.add_slice({"tokens_embedded": 100, "chunks": 1}, documents=1, tokens=100)
    assert rate_of(work, tally) == "10 tokens/s · 40 s left"
    tally.seconds["embed"] = 20.0
    tally.add_slice({"tokens_embedded": 300, "chunks": 1}, documents=1, tokens=300)
    assert rate_of(work, tally) == "20 tokens/s · 5 s left"
    assert state_of(work, tally) == "2 documents · 2 chunks · 400 of about 500 tokens"
    assert tally.counts["slices"] == 2
