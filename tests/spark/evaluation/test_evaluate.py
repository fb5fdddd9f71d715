"""The evaluation job on real tables, compared with an oracle in numpy."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.evaluations import EVALUATIONS
from spark_jobs.evaluate_library import run
from spark_jobs.evaluation.pairs import PairScores
from spark_jobs.evaluation.report import Evaluation
from spark_jobs.settings import Settings
from udfs.encoders.fake import NOT_FINITE, FakeEncoder
from udfs.models.fingerprint import model_fingerprint
from udfs.models.source import describe_model

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
Row = dict[str, Any]

QUERIES = {"q1": "Owls hunt mouse 7.", "q2": "What makes honey?", "q3": "Who hunts?", "q4": "Not judged.", "q5": "x"}
GRADES = {
    "q1": {"d007": 2, "d100": 1},
    "q2": {"long": 1, "d001": 0, "gone": 3},
    "q3": {"d003": 1, "d004": 1, "d150": -1, "d149": 2},
    "q5": {"d005": -1},
}
MEASURES = ["nDCG@10", "R@10", "R@100", "AP@10", "AP@100", "RR@10"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    pytest.importorskip("ir_measures", reason="ir-measures is an optional dependency")
    paths = {"queries": tmp_path / "queries.jsonl", "judgements": tmp_path / "test.tsv"}
    rows = [json.dumps({"_id": query, "text": text}) for query, text in QUERIES.items()]
    paths["queries"].write_text("\r\n".join(rows), encoding="utf-8")
    lines = [f"{query}\t{document}\t{grade}" for query, found in GRADES.items() for document, grade in found.items()]
    paths["judgements"].write_text("query-id\tcorpus-id\tscore\r\n" + "\r\n".join(lines), encoding="utf-8")
    return paths


@pytest.fixture
def settings(two_spaces: Settings) -> Settings:
    """Settings of a shared library; evaluations change only their own table in it."""
    return two_spaces


def rows_of(settings: Settings, place: str) -> list[Row]:
    """The rows of a table, read at once with a different reader; none if the table does not exist."""
    folder = f"{settings.store.path}/{place}"
    if not DeltaTable.is_deltatable(folder):
        return []
    read = QueryBuilder().register("t", DeltaTable(folder)).execute("SELECT * FROM t").read_all()
    return pa.table(read).to_pylist()


def recorded(settings: Settings) -> list[Row]:
    return rows_of(settings, f"_embedlake/{EVALUATIONS.name}")


def ranked(chunks: list[Row], dimension: int) -> dict[str, list[str]]:
    """The documents for each judged query, ordered by their best chunk."""
    matrix, found = np.array([row["embedding"] for row in chunks]), {}
    for query in GRADES:
        scores = matrix @ FakeEncoder(dimension).encode([QUERIES[query]])[0]
        best: dict[str, float] = {}
        for row, score in zip(chunks, scores, strict=True):
            best[row["doc_id"]] = max(best.get(row["doc_id"], -2.0), float(score))
        found[query] = sorted(best, key=lambda document: (-best[document], document))
    return found


def expected_scores(found: dict[str, list[str]]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for query, judged in GRADES.items():
        grades = {document: max(0, grade) for document, grade in judged.items()}
        gains = [grades.get(document, 0) for document in found[query]]
        discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
        best = sorted(grades.values(), reverse=True)
        relevant = sum(grade > 0 for grade in best)
        ideal = float(best @ discounts[: len(best)])
        hits = np.flatnonzero(gains)
        scores["nDCG@10"].append(float(gains[:10] @ discounts[:10]) / ideal if ideal else 0.0)
        scores["RR@10"].append(1 / (hits[0] + 1) if len(hits) and hits[0] < 10 else 0.0)
        for k in (10, 100):
            within = hits[hits < k]
            precisions = np.arange(1, len(within) + 1) / (within + 1)
            scores[f"R@{k}"].append(len(within) / relevant if relevant else 0.0)
            scores[f"AP@{k}"].append(float(precisions.sum()) / relevant if relevant else 0.0)
    return scores


def evaluated(spark: SparkSession, settings: Settings, **options: Any) -> Evaluation:
    found = run(spark, settings, **options)
    assert isinstance(found, Evaluation)
    return found


def test_measures_of_two_spaces_are_those_of_brute_force_and_are_recorded(
    spark: SparkSession, settings: Settings, files: dict[str, Path], tmp_path: Path
) -> None:
    chunks, chunks_there = rows_of(settings, "toy/main/vectors"), rows_of(settings, "toy/small/vectors")
    assert sum(row["doc_id"] == "long" for row in chunks) > 2

    earlier = recorded(settings)
    # The settings name the model of the first space; the second space is queried with its own model.
    found = evaluated(spark, settings, **files, against="small", out=tmp_path / "result.json")
    here, there = ranked(chunks, 8), ranked(chunks_there, 16)
    expected, expected_there = expected_scores(here), expected_scores(there)
    assert expected != expected_there
    assert {name: list(values) for name, values in found.scores.scores.items()} == {
        name: pytest.approx(values) for name, values in expected.items()
    }
    assert found.comparison is not None
    assert {name: list(values) for name, values in found.comparison.other.scores.items()} == {
        name: pytest.approx(values) for name, values in expected_there.items()
    }
    overlap = float(np.mean([len(set(here[query][:10]) & set(there[query][:10])) / 10 for query in GRADES]))
    assert found.comparison.overlap == pytest.approx(overlap)
    for name, difference in found.comparison.differences.items():
        assert difference.value == pytest.approx(np.mean(expected[name]) - np.mean(expected_there[name]))
        assert difference.low <= difference.value <= difference.high
    # "gone" and "d150" are judged but are not in any table.
    assert (found.scores.missing, found.judged.unjudged, found.judged.hopeless, found.depth) == (2, 1, 1, 100)

    written = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(found.as_dict()))
    assert written["measures"]["nDCG@10"] == pytest.approx(np.mean(expected["nDCG@10"]))

    rows = [row for row in recorded(settings) if row not in earlier]
    assert {(row["space"], row["measure"]) for row in rows} == {
        *((space, measure) for space in ("main", "small") for measure in MEASURES),
        ("main", "overlap@10"),
    }
    assert len({row["evaluated_at"] for row in rows}) == 1
    (row,) = [row for row in rows if (row["space"], row["measure"]) == ("main", "nDCG@10")]
    assert row["value"] == pytest.approx(np.mean(expected["nDCG@10"]))
    assert (row["library"], row["against"], row["query_count"], row["missing_documents"]) == ("toy", "small", 4, 2)
    assert (row["queries"], row["judgements"]) == ("queries.jsonl", "test.tsv")
    assert row["model_fingerprint"] == model_fingerprint(describe_model("fake:8"))
    assert row["vectors_version"] == found.scores.vectors_version


def test_a_larger_k_searches_deeper_and_a_second_evaluation_is_appended(
    spark: SparkSession, settings: Settings, files: dict[str, Path]
) -> None:
    earlier = recorded(settings)
    found = evaluated(spark, settings, **files, k=151)
    assert found.depth == 151
    # All 151 documents are found: only documents that are not in the library are missing.
    assert list(found.scores.scores["R@151"]) == [1.0, 0.5, 1.0, 0.0]
    # A full disk at the end does not lose any results.
    with pytest.raises(
        InputError, match=r"--out /dev/full cannot be written: No space left .* in the table evaluations"
    ):
        run(spark, settings, **files, out=Path("/dev/full"))
    rows = [row for row in recorded(settings) if row not in earlier]
    assert [row["value"] for row in rows if row["measure"] == "nDCG@10"] == [found.scores.means["nDCG@10"]] * 2
    assert {row["measure"] for row in rows} == {*MEASURES, "nDCG@151", "R@151", "AP@151", "RR@151"}


def test_a_query_s_own_document_is_left_out_unless_it_is_judged_relevant_or_asked_for(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    pytest.importorskip("ir_measures", reason="ir-measures is an optional dependency")
    chunks = rows_of(settings, "toy/main/vectors")
    texts = {row["doc_id"]: row["text"] for row in chunks}
    matrix = np.array([row["embedding"] for row in chunks])

    def second(query: str) -> str:
        """The nearest document but the query's own, which has the same text."""
        order = np.argsort(-(matrix @ FakeEncoder(8).encode([texts[query]])[0]), kind="stable")
        return next(found for found in (chunks[place]["doc_id"] for place in order) if found != query)

    queries, judgements = tmp_path / "own.jsonl", tmp_path / "own.tsv"
    asked = {**{name: texts[name] for name in ("d002", "d010", "d020")}, "q1": texts["d030"]}
    queries.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in asked.items()))
    # d020 is judged relevant for itself, which no set of duplicates or counterarguments does: it is a hit.
    judged = [("d002", second("d002"), 1), ("d010", second("d010"), 1), ("d010", "d010", 0), ("d020", "d020", 1)]
    lines = [f"{query}\t{document}\t{grade}\n" for query, document, grade in [*judged, ("q1", "d030", 1)]]
    judgements.write_text("".join(lines))
    files = {"queries": queries, "judgements": judgements}
    earlier = recorded(settings)

    found = evaluated(spark, settings, **files, k=150)
    assert list(found.scores.scores["nDCG@10"]) == [1.0, 1.0, 1.0, 1.0]
    assert (found.scores.own_documents, found.depth) == (2, 150)
    assert "2 queries' own documents were left out" in str(found)
    assert (found.as_dict()["identical_ids"], found.as_dict()["own_documents_left_out"]) == ("left out", 2)

    # The same queries from a table, which is read as a search reads it.
    table = tmp_path / "own.parquet"
    spark.createDataFrame(list(asked.items()), "query_id string, text string").coalesce(1).write.parquet(str(table))
    kept = evaluated(spark, settings, queries=table, judgements=judgements, keep_identical_ids=True)
    assert list(kept.scores.scores["nDCG@10"]) == pytest.approx([1 / np.log2(3), 1 / np.log2(3), 1.0, 1.0])
    assert (kept.scores.own_documents, kept.as_dict()["identical_ids"]) == (0, "counted")
    assert "by their best chunk · a query's own document counts" in str(kept)

    rows = [row for row in recorded(settings) if row not in earlier]
    noted = {(row["measure"], dict(row["versions"])["identical_ids"]) for row in rows}
    assert noted == {
        *((measure, "2 left out") for measure in found.scores.scores),
        *((measure, "counted") for measure in kept.scores.scores),
    }


def test_what_is_wrong_is_told_before_anything_is_searched(
    spark: SparkSession, make_settings: MakeSettings, files: dict[str, Path], tmp_path: Path
) -> None:
    settings = make_settings("unread")
    with pytest.raises(InputError) as error:
        run(spark, settings, **files, pairs=tmp_path, space="main", against="small", k=0, out=tmp_path)
    assert [fault.split(". ")[0] for fault in error.value.faults] == [
        "--pairs does not go with --queries and --judgements and --space and --against",
        "-k is 0",
        f"--out {tmp_path} cannot be written",
    ]
    for options in ({}, {"queries": files["queries"]}, {"judgements": files["judgements"]}):
        with pytest.raises(InputError, match="--queries and --judgements go together"):
            run(spark, settings, **options)
    with pytest.raises(InputError, match=r"line 1: is not a JSON object"):
        run(spark, settings, queries=files["judgements"], judgements=files["judgements"])
    with pytest.raises(InputError, match=r"--out .*none/result\.json cannot be written\. Name a file in an existing"):
        run(spark, settings, **files, out=tmp_path / "none" / "result.json")
    assert not (tmp_path / "lake").exists()


def test_spaces_that_cannot_be_searched_are_named(
    spark: SparkSession, settings: Settings, files: dict[str, Path], make_settings: MakeSettings
) -> None:
    earlier = recorded(settings)
    with pytest.raises(InputError, match=r"library toy has no space main \(no run has written to it yet\)"):
        run(spark, make_settings("unread"), **files)
    with pytest.raises(InputError, match=r"library toy has no space \.\./x \(it has main, small\)"):
        run(spark, settings, **files, against="../x")
    for space, against in ((None, "main"), ("small", "small")):
        with pytest.raises(InputError, match=f"^--against {against} is the space itself"):
            run(spark, settings, **files, space=space, against=against)
    other_model = settings.model_copy(update={"model": settings.model.model_copy(update={"path": "fake:16"})})
    with pytest.raises(InputError, match="was made by the model fake:8"):
        run(spark, other_model, **files)
    assert recorded(settings) == earlier


# Pairs


def test_pairs_correlate_with_the_cosines_of_documents_and_are_recorded(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    from scipy.stats import pearsonr, spearmanr

    draw = np.random.default_rng(0)
    sentences = [(f"Owls hunt {n}.", f"Bees hum {n % 7}.") for n in range(40)]
    scores = draw.integers(0, 6, len(sentences)).astype(float)
    lines = [f"{first},{second},{score}\n" for (first, second), score in zip(sentences, scores, strict=True)]
    path = tmp_path / "pairs.csv"
    path.write_text("".join([*lines, f"{NOT_FINITE},Owls.,3\n"]), encoding="utf-8")
    # The contents of the space do not matter. Neither a space nor a source has to exist.
    settings = make_settings("unread", model={"path": "fake:8", "precision": "int8"})
    found = run(spark, settings, pairs=path, out=tmp_path / "result.json")
    assert isinstance(found, PairScores)

    first, second = (FakeEncoder(8).encode([pair[side] for pair in sentences]) for side in (0, 1))
    cosines = (first * second).sum(axis=1)
    assert found.spearman == pytest.approx(spearmanr(scores, cosines).statistic, abs=1e-6)
    assert found.pearson == pytest.approx(pearsonr(scores, cosines).statistic, abs=1e-6)
    assert (found.pairs, found.left_out, found.truncated) == (40, 1, 0)
    assert "40 compared · 1 left out" in str(found) and f"Spearman   {found.spearman:.5f}" in str(found)
    assert json.loads((tmp_path / "result.json").read_text())["measures"]["Pearson"] == found.pearson

    rows = {row["measure"]: row for row in recorded(settings)}
    assert {name: row["value"] for name, row in rows.items()} == {"Spearman": found.spearman, "Pearson": found.pearson}
    row = rows["Spearman"]
    assert (row["queries"], row["query_count"], row["vectors_version"]) == ("pairs.csv", 40, None)
    spec = describe_model("fake:8", precision="int8")
    assert row["model_fingerprint"] == model_fingerprint(replace(spec, precision="float32"))


def test_pairs_that_no_model_tells_apart(spark: SparkSession, make_settings: MakeSettings, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("a,a,1\na,a,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"the 2 of 2 pairs of .*pairs\.csv .* the same score or the same cosine"):
        run(spark, make_settings("unread"), pairs=path)
