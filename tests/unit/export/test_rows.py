"""Rows of `vectors` in the form that targets take, and packed for transport through the workers."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import InputError
from spark_jobs.export.rows import _packing, as_sent
from tests.support.export_spaces import space_of

IDS = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"]


def schema_of(payload: pa.DataType, dimension: int = 2) -> pa.Schema:
    return pa.schema(
        [("chunk_id", pa.string()), ("payload", payload), ("embedding", pa.list_(pa.float32(), dimension))]
    )


def batch_of(embeddings: Any, payload: Any = None, ids: list[str | None] | None = None) -> pa.RecordBatch:
    columns = [pa.array(ids or IDS[: len(embeddings)], pa.string()), pa.array([1, 2]) if payload is None else payload]
    return pa.RecordBatch.from_arrays([*columns, embeddings], names=["chunk_id", "payload", "embedding"])


def floats(*rows: list[float] | None) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float32()))


def test_float32_is_sent_as_stored() -> None:
    sent = as_sent(batch_of(floats([0.1, -2.5], [3.0, 0.0])), space_of(), schema_of(pa.int64()))
    assert sent.schema == schema_of(pa.int64())
    assert sent.column("embedding").to_pylist() == [[np.float32(0.1), -2.5], [3.0, 0.0]]
    assert sent.column("payload").to_pylist() == [1, 2]


def test_a_slice_of_a_batch_is_sent_as_that_slice() -> None:
    part = batch_of(floats([1.0, 2.0], [3.0, 4.0])).slice(1, 1)
    sent = as_sent(part, space_of(), schema_of(pa.int64()))
    assert sent.to_pylist() == [{"chunk_id": IDS[1], "payload": 2, "embedding": [3.0, 4.0]}]


def test_int8_is_sent_as_the_middle_of_each_step() -> None:
    stored = pa.array([[-128, 127], [0, -1]], pa.list_(pa.int8()))
    ranges = ((-1.0, 0.0), (1.0, 2.55))
    sent = as_sent(batch_of(stored), space_of("int8", ranges=ranges), schema_of(pa.int64()))
    # A step is 2 / 255 wide for the first number, and 0.01 for the second.
    expected = [[-1 + 1 / 255, 2.555], [-1 + 257 / 255, 1.275]]
    np.testing.assert_allclose(sent.column("embedding").to_pylist(), expected, rtol=1e-6)


def test_binary_is_sent_as_minus_one_and_one() -> None:
    stored = pa.array([[0b10100000 - 128], [0b00000001 - 128]], pa.list_(pa.int8()))
    sent = as_sent(batch_of(stored), space_of("binary", dimension=8), schema_of(pa.int64(), 8))
    assert sent.column("embedding").to_pylist() == [[1, -1, 1, -1, -1, -1, -1, -1], [-1] * 7 + [1]]


def test_types_that_differ_between_sessions_are_sent_alike() -> None:
    there = pa.array([0, 3_600_000_000], pa.timestamp("us", tz="Europe/Zurich"))
    wanted = pa.timestamp("us", tz="UTC")
    sent = as_sent(batch_of(floats([1.0, 0.0], [0.0, 1.0]), there), space_of(), schema_of(wanted))
    assert sent.column("payload").type == wanted
    assert [value.timestamp() for value in sent.column("payload").to_pylist()] == [0, 3600]
    large = pa.array(["é", None], pa.large_string())
    sent = as_sent(batch_of(floats([1.0, 0.0], [0.0, 1.0]), large), space_of(), schema_of(pa.string()))
    assert sent.column("payload").type == pa.string() and sent.column("payload").to_pylist() == ["é", None]


@pytest.mark.parametrize(
    ("embeddings", "fault"),
    [
        (floats([1.0, 2.0], [1.0]), "do not have 2 numbers"),
        (floats([1.0], [1.0, 2.0, 3.0]), "do not have 2 numbers"),
        (floats([1.0, 2.0], None), "do not have 2 numbers"),
        (pa.array([[1.0, 2.0], [1.0, None]], pa.list_(pa.float32())), "do not have 2 numbers"),
        (floats([1.0, 2.0], [1.0, float("nan")]), "not finite"),
        (floats([1.0, 2.0], [1.0, float("-inf")]), "not finite"),
    ],
)
def test_a_broken_embedding_is_refused_with_the_remedy(embeddings: pa.Array, fault: str) -> None:
    with pytest.raises(InputError, match=rf"space toy\.main .*{fault}.*embedlake verify --repair"):
        as_sent(batch_of(embeddings), space_of(), schema_of(pa.int64()))


def test_a_row_without_id_is_refused() -> None:
    with pytest.raises(InputError, match="rows without chunk_id"):
        as_sent(batch_of(floats([1.0, 2.0], [1.0, 2.0]), ids=[IDS[0], None]), space_of(), schema_of(pa.int64()))


@pytest.mark.parametrize("nested", [False, True])
def test_strings_that_are_not_utf8_are_refused_without_being_shown(nested: bool) -> None:
    bad = pa.array([b"good", b"se\xffcret"]).view(pa.string())
    payload = pa.ListArray.from_arrays([0, 1, 2], bad) if nested else bad
    with pytest.raises(InputError, match="strings in column payload that are not UTF-8") as caught:
        as_sent(batch_of(floats([1.0, 2.0], [1.0, 2.0]), payload), space_of(), schema_of(payload.type))
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(("most_bytes", "packed"), [(1, 7), (10**6, 2)])
def test_packed_batches_hold_the_same_rows_in_bounded_pieces(most_bytes: int, packed: int) -> None:
    batches = [
        pa.RecordBatch.from_pydict({"n": list(range(5)), "text": list("abcde")}),
        pa.RecordBatch.from_pydict({"n": [], "text": []}, schema=pa.schema([("n", pa.int64()), ("text", pa.string())])),
        pa.RecordBatch.from_pydict({"n": [5, 6], "text": ["f", None]}),
    ]
    values = [value.as_py() for batch in _packing(most_bytes)(iter(batches)) for value in batch.column("packed")]
    assert len(values) == packed
    rows = [row for value in values for batch in pa.ipc.open_stream(value) for row in batch.to_pylist()]
    assert rows == [row for batch in batches for row in batch.to_pylist()]
