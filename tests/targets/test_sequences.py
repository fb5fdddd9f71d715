"""After any sequence of exports, each kind of target contains what a dictionary would contain."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.targets.exports import opened, runs_held
from tests.targets.readers import rows_in
from tests.targets.rows import batch_of, ids_of, shape_of

IDS = ids_of(range(8))
_some = st.lists(st.sampled_from(IDS), max_size=6)
_step = st.tuples(st.sampled_from(["send", "remove"]), _some)
_export = st.tuples(st.lists(_step, max_size=4), st.booleans(), st.sampled_from([True, True, True, False]))


@pytest.mark.parametrize("kind", ["parquet", "faiss", "usearch"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(exports=st.lists(_export, max_size=4))
def test_any_sequence_of_exports(kind: str, exports: list[tuple[list[tuple[str, list[str]]], bool, bool]]) -> None:
    held: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        to = f"{kind}:{Path(folder) / 'target'}"
        for number, (steps, full, is_finished) in enumerate(exports):
            after = {} if full else dict(held)
            with opened(to) as target:
                target.prepare(shape_of(), full)
                for part, (what, ids) in enumerate(steps):
                    run = f"run {number}.{part}"
                    if what == "send":
                        target.send([batch_of([i], run) for i in ids])
                        after |= dict.fromkeys(ids, run)
                    else:
                        target.remove([pa.array(ids, pa.string())])
                        after = {i: kept for i, kept in after.items() if i not in ids}
                if is_finished:
                    target.finish()
                    held = after
                    assert target.count() == len(held)
            assert runs_held(to) == held
        if exports and any(is_finished for *_, is_finished in exports):
            assert {i: row["run_id"] for i, row in rows_in(to).items()} == held
