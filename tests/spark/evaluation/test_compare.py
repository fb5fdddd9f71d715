"""The comparison job on real tables, with models whose vectors are drawn from the texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.compare_spaces import run
from spark_jobs.evaluation.sampled_report import SampledComparison
from spark_jobs.settings import Settings
from tests.support.template import OWLS
from udfs.encoders.fake import FakeEncoder, FakeTokenCounter

pytestmark = pytest.mark.spark

LoadTemplate = Callable[..., Settings]
TEXTS = {document["id"]: document["text"] for document in OWLS if document["id"] != "long"}
QUERIES = {"q1": "Owls hunt mouse 7.", "q2": "Who hunts mouse 8?", "q3": "What do owls hunt?"}
GRADES = {"q1": {"d007": 1}, "q2": {"d138": 2, "d142": 1, "gone": 1, "d009": 0}, "q3": {"d112": 1, "d091": 1}}


@pytest.fixture(scope="module")
def settings(load_template: LoadTemplate, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of another model for a loaded library of `fake:8` without the document of several chunks."""
    documents = [document for document in OWLS if document["id"] != "long"]
    found = load_template(tmp_path_factory.mktemp("compare"), documents)
    return found.model_copy(update={"model": found.model.model_copy(update={"path": "fake:16"})})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {"queries": tmp_path / "queries.jsonl", "judgements": tmp_path / "test.tsv"}
    paths["queries"].write_text("\n".join(json.dumps({"_id": query, "text": text}) for query, text in QUERIES.items()))
    lines = [f"{query}\t{document}\t{grade}" for query, found in GRADES.items() for document, grade in found.items()]
    paths["judgements"].write_text("\n".join(lines))
    return paths


def stored(settings: Settings) -> set[Path]:
    return {path for path in Path(str(settings.store.path)).rglob("*") if path.is_file() and "locks" not in path.parts}


def nearest(dimension: int, query: str, names: list[str]) -> list[str]:
    encoder = FakeEncoder(dimension)
    scores = encoder.encode([TEXTS[name] for name in names]) @ encoder.encode([query])[0]
    return [names[place] for place in np.argsort(-scores, kind="stable")]


def ndcg(found: list[str], grades: dict[str, int]) -> float:
    discounts = 1 / np.log2(np.arange(2, 12))
    best = np.array(sorted(grades.values(), reverse=True))
    gains = np.array([grades.get(document, 0) for document in found[:10]])
    return float(gains @ discounts / (best @ discounts[: len(best)]))


def shares(first: list[str], second: list[str]) -> float:
    return len(set(first[:10]) & set(second[:10])) / 10


def test_a_sample_of_the_whole_library_gives_the_true_difference_and_writes_nothing(
    spark: SparkSession, settings: Settings, files: dict[str, Path], tmp_path: Path
) -> None:
    before = stored(settings)
    priced = settings.model_copy(update={"cost": settings.cost.model_copy(update={"per_hour": 7200.0})})
    found = run(spark, priced, "next", **files, out=tmp_path / "result.json")
    names = sorted(TEXTS)
    here, there = ({query: nearest(dimension, text, names) for query, text in QUERIES.items()} for dimension in (8, 16))
    baseline, candidate = ([ndcg(hits[query], GRADES[query]) for query in QUERIES] for hits in (here, there))
    assert found.quality is not None
    estimate, quality = found.quality.estimate, found.quality
    assert estimate.baseline == estimate.baseline_estimated == pytest.approx(np.mean(baseline))
    assert estimate.difference.value == pytest.approx(np.mean(candidate) - np.mean(baseline))
    assert estimate.difference.low < estimate.difference.value < estimate.difference.high
    assert (quality.queries, quality.queries_left_out, quality.unknown_documents) == (3, 0, 1)
    assert found.overlap.share.value == pytest.approx(np.mean([shares(here[q], there[q]) for q in QUERIES]))
    assert (found.overlap.queries, found.overlap.of) == (3, "judged queries")

    tokens = sum(FakeTokenCounter().inputs(list(TEXTS.values())))
    assert found.cost.sample_tokens == tokens == found.cost.tokens.value == found.cost.tokens.low
    assert found.cost.hours is not None and found.cost.price is not None
    assert found.cost.hours.value == pytest.approx(tokens / found.cost.tokens_per_second / 3600)
    assert found.cost.price.value == pytest.approx(7200 * found.cost.hours.value)
    assert (found.sample.documents, found.sample.relevant, found.sample.library_documents) == (150, 5, 150)
    assert (found.baseline.space, found.candidate.space) == ("toy.main", "toy.next")
    assert (found.baseline.model, found.candidate.model) == ("fake:8", "fake:16")
    assert (found.baseline.chunks, found.candidate.chunks) == (150, 150)
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(found.as_dict()))
    assert "nDCG@10" in str(found) and "USD" in str(found)
    assert stored(settings) == before
    assert not spark.catalog.listTables("default")


def test_a_part_of_the_library_is_drawn_by_the_seed_and_has_the_relevant_documents(
    spark: SparkSession, settings: Settings, files: dict[str, Path]
) -> None:
    once, again, other = (run(spark, settings, "next", sample=40, seed=seed, **files) for seed in (1, 1, 2))
    assert (once.sample.documents, once.sample.relevant, once.sample.library_documents) == (40, 5, 150)
    assert (once.quality, once.overlap) == (again.quality, again.overlap)
    assert once.quality != other.quality
    assert once.quality is not None and other.quality is not None
    # What is known of the whole library does not depend on the sample.
    assert once.quality.estimate.baseline == other.quality.estimate.baseline
    tokens = sum(FakeTokenCounter().inputs(list(TEXTS.values())))
    # One interval in twenty misses; how often they hold is tested without Spark.
    assert once.cost.tokens.value == pytest.approx(tokens, rel=0.03)
    assert once.cost.tokens.low < once.cost.tokens.value < once.cost.tokens.high
    assert once.cost.sample_tokens < tokens


def test_without_judgements_the_sample_asks_for_its_neighbours(spark: SparkSession, settings: Settings) -> None:
    found = run(spark, settings, "next", sample=150, k=10)
    names, here, there = sorted(TEXTS), {}, {}
    for name in names:
        here[name], there[name] = (
            [other for other in nearest(dimension, TEXTS[name], names) if other != name] for dimension in (8, 16)
        )
    assert found.quality is None
    assert found.overlap.share.value == pytest.approx(np.mean([shares(here[name], there[name]) for name in names]))
    assert (found.overlap.queries, found.overlap.of) == (150, "documents of the sample")
    assert "no judgements were given" in str(found) and "cost.per_hour is not set" in str(found)


def test_another_chunking_or_precision_alone_can_be_compared(
    spark: SparkSession, load_template: LoadTemplate, tmp_path: Path
) -> None:
    loaded = load_template(tmp_path, OWLS, chunking={"max_tokens": 64})
    chunking = loaded.chunking.model_copy(update={"method": "none", "max_tokens": None})
    found = run(spark, loaded.model_copy(update={"chunking": chunking}), "whole", sample=151)
    assert found.candidate.chunks == 151 < found.baseline.chunks
    assert found.candidate.chunking == "none" and found.baseline.chunking == "structure, 16 to 64 tokens"
    # Equal texts have equal vectors, except that of the document that is cut.
    assert found.overlap.share.value > 0.9
    for precision in ("int8", "binary"):
        stored_as = loaded.model.model_copy(update={"precision": precision})
        found = run(spark, loaded.model_copy(update={"model": stored_as}), precision, sample=60)
        assert isinstance(found, SampledComparison) and found.overlap.share.value < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, r"--sample is 0\. Ask for 1 to 20,000 documents\."),
        ({"sample": -1}, r"--sample is -1\. "),
        ({"sample": 20_001}, r"--sample is 20001\. "),
        ({"k": 101}, r"-k is 101\. Ask for 1 to 100 documents\."),
        ({"queries": Path("queries.jsonl")}, r"--queries and --judgements go together\."),
        ({"out": Path("/nowhere/result.json")}, r"--out /nowhere/result\.json cannot be written\."),
        ({"queries": Path("none.jsonl"), "judgements": Path("none.tsv")}, r"none\.jsonl"),
        ({"space": "a b"}, r"space: String should match pattern"),
        ({"space": "main"}, r"space main holds vectors of another model"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    spark: SparkSession, settings: Settings, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(spark, settings, **{"space": "next", **options})


def test_what_is_already_there_or_not_yet_there_is_refused(
    spark: SparkSession, settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    same = settings.model_copy(update={"model": settings.model.model_copy(update={"path": "fake:8"})})
    with pytest.raises(InputError, match=r"active space main, so there is nothing to compare\."):
        run(spark, same, "next")
    with pytest.raises(InputError, match=r"library toy has no space yet to compare with\. Run embedlake embed\."):
        run(spark, make_settings(settings.source.path), "next")
    other = settings.model_copy(update={"source": settings.source.model_copy(update={"filter": "id = 'none'"})})
    with pytest.raises(InputError, match=r"no document of the source has vectors in the active space"):
        run(spark, other, "next")


def test_judgements_of_another_library_are_refused(
    spark: SparkSession, settings: Settings, files: dict[str, Path]
) -> None:
    files["judgements"].write_text("q1\tnone\t1\n")
    with pytest.raises(InputError, match=r"none of the 1 relevant documents in .*test\.tsv\. Name the judgements"):
        run(spark, settings, "next", **files)
    files["judgements"].write_text("q1\td001\t1\n")
    found = run(spark, settings, "next", sample=20, **files).quality
    assert found is not None and found.queries == 1 and found.estimate.difference.low is None
