"""What a person reads while a run works."""

from collections import Counter
from io import StringIO

from rich.console import Console

from spark_jobs.embedding.slicing import Slice
from spark_jobs.runtime.progress import Progress


def test_the_rate_is_that_of_all_slices_so_far() -> None:
    shown = StringIO()
    progress = Progress(Console(file=shown, width=200))
    for number, (tokens, seconds) in enumerate([(100, 10.0), (300, 20.0)], 1):
        progress.seconds["embed"] = seconds
        progress.committed(Slice(number, 0, 9, tokens, 1, 1), Counter(tokens_embedded=tokens, chunks=1))
    first, second = shown.getvalue().splitlines()
    assert "· 10 tokens/s ·" in first
    assert "2 documents · 2 chunks ·" in second
    assert "· 20 tokens/s ·" in second
