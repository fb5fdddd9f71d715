"""What of a sample of vectors gets onto the map: two dimensions, few colors, short texts."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from spark_jobs.page.vector_map import (
    MISSING,
    MOST_GROUPS,
    MOST_POINTS,
    OTHERS,
    colored,
    hash_bound,
    label_points,
    project,
    shortened,
)


@pytest.mark.parametrize("shape", [(200, 12), (9, 40), (2, 5), (30, 2)])
def test_points_are_those_of_another_implementation(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(3).normal(size=shape).astype(np.float32) * np.linspace(3, 1, shape[1])
    points, explained = project(matrix.astype(np.float32))
    other = PCA(n_components=2, svd_solver="full").fit(matrix.astype(np.float32).astype(np.float64))
    expected = other.transform(matrix.astype(np.float32).astype(np.float64))
    for axis in range(2):
        # The sign of a direction has no meaning.
        sign = np.sign((points[:, axis] * expected[:, axis]).sum()) or 1
        np.testing.assert_allclose(points[:, axis] * sign, expected[:, axis], atol=1e-4)
    assert explained == pytest.approx(other.explained_variance_ratio_.sum(), abs=1e-6)


def test_the_farthest_point_lies_on_the_positive_side() -> None:
    points, _ = project(np.array([[0, 0, 0], [-9, 0, 0], [0, 4, 0], [0, 0, 1]], dtype=np.float32))
    assert [points[np.abs(points[:, axis]).argmax(), axis] > 0 for axis in range(2)] == [True, True]


@pytest.mark.parametrize(
    "matrix", [[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]], [[5], [5]], [[0, 0]]], ids=["one", "equal", "one number", "zero"]
)
def test_vectors_that_do_not_differ_are_one_point(matrix: list[list[float]]) -> None:
    points, explained = project(np.array(matrix, dtype=np.float32))
    assert points.tolist() == [[0.0, 0.0]] * len(matrix) and explained == 1


def test_vectors_of_one_number_have_one_direction() -> None:
    points, explained = project(np.array([[1], [3], [8]], dtype=np.float32))
    np.testing.assert_allclose(points, [[-3, 0], [-1, 0], [4, 0]], atol=1e-6)
    assert explained == pytest.approx(1)


def test_the_first_column_with_few_values_colors_the_points() -> None:
    columns = {"id": [str(n) for n in range(20)], "same": ["x"] * 20, "kind": ["b"] * 5 + ["a"] * 14 + [None]}
    column, labels, groups = colored(columns, None)
    assert (column, labels) == ("kind", ["a", "b", MISSING])
    assert groups == [1] * 5 + [0] * 14 + [2]
    assert colored({"id": columns["id"]}, None) == (None, [], [])


def test_of_more_values_than_colors_the_rare_ones_are_one_group() -> None:
    values = [str(n) for n in range(12) for _ in range(12 - n)]
    column, labels, groups = colored({"kind": values}, "kind")
    assert (column, labels) == ("kind", [*"0123456", OTHERS])
    assert len(labels) == MOST_GROUPS
    assert groups == [min(int(value), MOST_GROUPS - 1) for value in values]


def test_of_many_vectors_few_more_than_the_sample_are_ordered() -> None:
    assert hash_bound(1) == hash_bound(MOST_POINTS) == 2**63 - 1
    # A hash is a number from -2**63 to 2**63 - 1, each as likely as any other.
    share = (hash_bound(1_000_000) + 2**63) / 2**64
    assert share * 1_000_000 == pytest.approx(MOST_POINTS * 4 / 3, rel=1e-6)


@pytest.mark.parametrize(
    "text", ["owl " * 500, "<" * 5000, "鴞" * 5000, "\x01" * 900 + "x", '"\\' * 900, "🦉" * 900, ""]
)
def test_texts_take_no_more_room_than_they_may(text: str) -> None:
    kept = shortened(text, 400, 180)
    embedded = json.dumps(kept, ensure_ascii=False).replace("<", "\\u003c")
    assert len(kept) <= 401 and len(embedded.encode()) <= 180 + 4
    assert kept.removesuffix("…") == " ".join(text.split())[: len(kept.removesuffix("…"))]
    assert bool(kept) == bool(text.strip())


def test_short_texts_stay_as_they_are_but_for_blanks() -> None:
    assert shortened("  Owls\n\n hunt\tat night. ", 400, 180) == "Owls hunt at night."


def test_fewer_points_have_longer_texts() -> None:
    ids, texts = label_points(["owl"] * 5_000, ["hoot " * 200] * 5_000)
    assert ids == ["owl"] * 5_000 and len(texts[0]) < 200
    assert len(label_points(["owl"], ["hoot " * 200])[1][0]) == 240
    assert label_points([None], [None]) == ([""], [""])
