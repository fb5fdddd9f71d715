"""A map of a sample of vectors: drawn by Spark, projected to two dimensions on the driver."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, DataType, MapType, StructType, VariantType

from schemas.errors import InputError
from schemas.table import quoted
from schemas.vectors import CONTEXT, PAGE_FIELDS, vectors_table
from spark_jobs.page.facts import VectorMap
from spark_jobs.store.open_space import OpenSpace
from udfs.quantization import restored

MOST_POINTS = 5_000
# More colors than these cannot be told apart.
MOST_GROUPS = 8
OTHERS = "all other values"
MISSING = "no value"
# So that a page of 5,000 points in any script stays below 3 MB, charts included.
_TEXT_BYTES, _ID_BYTES = 900_000, 300_000
_MOST_TEXT, _MOST_ID, _MOST_LABEL = 240, 120, 60
# A payload column is looked at only if a person named it, or if it is among the first ones.
_MOST_CANDIDATES = 20
_OPTIONAL = [field.name for field in (CONTEXT, *PAGE_FIELDS)]
_UNNAMED = (ArrayType, MapType, StructType, BinaryType, VariantType)


def color_columns(space: OpenSpace) -> list[str]:
    """Lists the payload columns by which a map can be colored."""
    own = set(vectors_table().schema.names)
    names = [field.name for field in space.vectors.rows.schema if field.name not in own and _is_plain(field.dataType)]
    # They would tell less than a payload column, and are one where the space has no column of its own by that name.
    return sorted(names, key=lambda name: name in _OPTIONAL)


def _is_plain(kind: DataType) -> bool:
    return not isinstance(kind, _UNNAMED)


def require_color(space: OpenSpace, column: str | None) -> None:
    """Refuses a column that the map cannot be colored by."""
    columns = color_columns(space)
    if column is not None and column not in columns:
        known = f"Name one of {', '.join(columns)}" if columns else "The space has none, so leave it out"
        raise InputError(f"--color-by {column} is not a payload column of single values. {known}.")


def draw_map(space: OpenSpace, color_by: str | None, with_texts: bool, seed: int) -> VectorMap | None:
    """Draws a sample of a space's vectors and projects it.

    Args:
        space: The space, pinned at one version.
        color_by: Payload column by which points are colored; None for the first one with few values.
        with_texts: Whether points have the texts of their chunks, and ids of their documents.
        seed: Decides which vectors are drawn, by a hash of it and the id of the chunk.

    Returns:
        The map; None if there are no vectors.

    Raises:
        InputError: The points cannot be colored by the column.
    """
    require_color(space, color_by)
    total = space.vectors.count
    if not total:
        return None
    columns = color_columns(space)[:_MOST_CANDIDATES] if color_by is None else [color_by]
    key = F.xxhash64(F.lit(seed).cast("long"), "chunk_id")
    rows = space.vectors.rows.where(key <= hash_bound(total)).orderBy(key, "chunk_id").limit(MOST_POINTS)
    # Numbered, because payload columns may have any name.
    values = [_value(column).alias(f"value_{place}") for place, column in enumerate(columns)]
    texts = [F.col("doc_id"), F.substring("text", 1, 2 * _MOST_TEXT).alias("text")] if with_texts else []
    table = rows.select("embedding", *texts, *values).toArrow()
    # One list a point: at most 5,000 of them.
    stored = np.stack(list(table.column("embedding").to_numpy()))
    points, explained = project(restored(stored, space.precision, space.ranges))
    column, labels, groups = colored(
        {name: table.column(f"value_{place}").to_pylist() for place, name in enumerate(columns)}, color_by
    )
    ids: list[str] = []
    words: list[str] = []
    if with_texts:
        ids, words = label_points(table.column("doc_id").to_pylist(), table.column("text").to_pylist())
    return VectorMap([(float(x), float(y)) for x, y in points], explained, total, column, labels, groups, ids, words)


def _value(column: str) -> Column:
    return F.substring(F.col(quoted(column)).cast("string"), 1, _MOST_LABEL)


def hash_bound(total: int) -> int:
    """Returns the highest hash of a chunk that may be drawn, so that few more rows than the sample are sorted."""
    # A third more than needed: that fewer than 5,000 of a million have such a hash does not happen.
    share = min(1.0, MOST_POINTS * 4 / 3 / total)
    return min(2**63 - 1, int((2 * share - 1) * 2**63))


def project(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Projects vectors onto the two directions in which they differ most (PCA).

    Args:
        matrix: (n, dimension) float32, at least one vector.

    Returns:
        (n, 2) float64, and the share of the variance that they have. The sign of each direction is fixed, so that the
        same vectors always give the same map.
    """
    centered = np.asarray(matrix, dtype=np.float64) - matrix.mean(axis=0, dtype=np.float64)
    number, dimension = centered.shape
    points = np.zeros((number, 2))
    # The smaller of the two matrices that have the same variances.
    is_wide = dimension > number
    variances, directions = np.linalg.eigh(centered @ centered.T if is_wide else centered.T @ centered)
    total = float(variances.clip(min=0).sum())
    if total <= 0:
        return points, 1.0
    for axis in range(min(2, len(variances))):
        variance, direction = max(0.0, float(variances[-1 - axis])), directions[:, -1 - axis]
        values = direction * np.sqrt(variance) if is_wide else centered @ direction
        points[:, axis] = values * np.sign(values[np.abs(values).argmax()] or 1)
    return points, float(variances[-2:].clip(min=0).sum()) / total


def colored(columns: dict[str, list[Any]], color_by: str | None) -> tuple[str | None, list[str], list[int]]:
    """Chooses the column that colors the points, and groups its values.

    Args:
        columns: Values of each point, by column.
        color_by: The column that was asked for; None for the first one with few values, but more than one.

    Returns:
        The column, or None; its groups, the most frequent first; and the group of each point. Of more values than there
        are colors, the less frequent ones are one group.
    """
    few = (name for name, values in columns.items() if 1 < len(set(values)) <= MOST_GROUPS)
    column = color_by if color_by is not None else next(few, None)
    if column is None:
        return None, [], []
    names = [
        MISSING if value is None else shortened(str(value), _MOST_LABEL, 6 * _MOST_LABEL) for value in columns[column]
    ]
    ranked = [name for name, _ in sorted(Counter(names).items(), key=lambda each: (-each[1], each[0]))]
    labels = ranked if len(ranked) <= MOST_GROUPS else [*ranked[: MOST_GROUPS - 1], OTHERS]
    places = {name: place for place, name in enumerate(labels)}
    return column, labels, [places.get(name, len(labels) - 1) for name in names]


def label_points(ids: Sequence[str | None], texts: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """Shortens ids and texts of all points, so that together they take no more of the page than they may."""
    count = max(1, len(ids))
    return (
        [shortened(each or "", _MOST_ID, _ID_BYTES // count) for each in ids],
        [shortened(each or "", _MOST_TEXT, _TEXT_BYTES // count) for each in texts],
    )


def shortened(text: str, characters: int, size: int) -> str:
    """Cuts a text to a number of characters and of bytes as JSON, with one space for any blanks in between."""
    words = " ".join(text.split())
    kept = words[:characters]
    while kept and len(json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace")) + 5 * kept.count("<") > size:
        kept = kept[: len(kept) * 4 // 5]
    return kept if kept == words else f"{kept.rstrip()}…"
