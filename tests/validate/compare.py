"""Compares what `embedlake compare` estimates from samples of SciFact with the truth.

The baseline is all-MiniLM-L6-v2 cut to 128 of its 384 numbers, the candidate the whole model. Both are built, and the
evaluation job measures the true difference. Then samples of 2,000 of the 5,183 abstracts are drawn by 20 seeds, and the
intervals that hold the true difference are counted. The job itself runs for the first seeds; the others take the same
draws and statistics, with vectors that are already stored. Run by `make validate-compare`; takes half an hour.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_jobs import compare_spaces, embed_library, evaluate_library
from spark_jobs.embedding.preflight import run_preflight
from spark_jobs.embedding.sample import draw_sample
from spark_jobs.evaluation.judgements import JudgedQueries, read_judged
from spark_jobs.evaluation.report import Evaluation
from spark_jobs.evaluation.retrieval import without_own
from spark_jobs.evaluation.sampled import (
    Hits,
    SampledDifference,
    draw_queries,
    estimate_difference,
    relevant_to_any,
)
from spark_jobs.runtime.session import get_session
from spark_jobs.search.queries import embed_queries
from spark_jobs.settings import Settings
from spark_jobs.store.open_space import open_space, search_model
from spark_jobs.store.tables import delta_session

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import DATA, MODEL, need  # noqa: E402
from tests.validate.scores import JUDGEMENTS, QUERIES, corpus_settings  # noqa: E402

SEEDS, LEAST_HELD, SAMPLE, K, DEPTH = 20, 19, 2_000, 10, 100
CUT = 128
Vectors = tuple[list[str], NDArray[np.float32]]


def build(spark: SparkSession, store: str) -> tuple[Settings, Settings]:
    """Builds both spaces, the cut model first, which makes it the active one; returns the settings of each."""
    whole = corpus_settings(store).model_copy(update={"space": "next"})
    cut = whole.model_copy(update={"space": "main", "model": whole.model.model_copy(update={"dimensions": CUT})})
    for settings in (cut, whole):
        print(embed_library.run(spark, settings))
    return cut, whole


def true_difference(spark: SparkSession, settings: Settings) -> float:
    """Measures the difference of nDCG@10 by the evaluation job."""
    found = evaluate_library.run(
        spark, settings, queries=QUERIES, judgements=JUDGEMENTS, space="next", against="main", k=K
    )
    assert isinstance(found, Evaluation) and found.comparison is not None
    print(found)
    return found.comparison.differences[f"nDCG@{K}"].value


def read_vectors(store: str, space: str) -> Vectors:
    """Reads the vectors of a space by a reader that is not Spark."""
    table = DeltaTable(f"{store}/scifact/{space}/vectors")
    rows = pa.table(
        QueryBuilder().register("vectors", table).execute("SELECT doc_id, embedding FROM vectors").read_all()
    )
    return rows["doc_id"].to_pylist(), np.vstack(rows["embedding"].to_numpy())


def ranked(vectors: Vectors, asked: NDArray[np.float32], judged: JudgedQueries, sample: set[str] | None) -> Hits:
    """Ranks the documents of a sample, or all of them, for each query."""
    names, matrix = vectors
    places = np.array([place for place, name in enumerate(names) if sample is None or name in sample])
    best = places[np.argsort(-(asked @ matrix[places].T), axis=1, kind="stable")[:, : DEPTH + 1]]
    found = {query: [names[place] for place in row] for query, row in zip(judged.queries, best, strict=True)}
    return without_own(judged, found, DEPTH)[0]


def estimates(spark: SparkSession, settings: Settings, store: str) -> list[SampledDifference]:
    """Estimates the difference by every seed, with stored vectors in place of embedded ones."""
    judged = read_judged(QUERIES, JUDGEMENTS)
    found = []
    with delta_session(spark):
        spaces = [open_space(spark, settings, name) for name in ("main", "next")]
        asked = [embed_queries(each, search_model(each), list(judged.queries.items())).matrix for each in spaces]
        vectors = [read_vectors(store, name) for name in ("main", "next")]
        preflight = run_preflight(spark, settings)
        whole = ranked(vectors[0], asked[0], judged, None)
        for seed in range(SEEDS):
            drawn = draw_queries(judged, SAMPLE // 2, seed)
            assert drawn.queries == judged.queries
            stored = spaces[0].vectors.rows
            sample = draw_sample(settings, preflight, stored, relevant_to_any(drawn), SAMPLE, seed)
            names = set(sample.characters)
            hits = [ranked(*pair, judged, names) for pair in zip(vectors, asked, strict=True)]
            one = estimate_difference(drawn, sample.certain, sample.fraction, *hits, whole, K, seed)
            print(seed, one, flush=True)
            found.append(one)
    return found


def validate(spark: SparkSession, store: str, jobs: int) -> Outcome:
    """Counts the intervals that hold the true difference."""
    outcome = Outcome("scifact, MiniLM of 128 numbers against the whole model")
    cut, whole = build(spark, store)
    truth = true_difference(spark, cut)
    found = estimates(spark, whole, store)
    values = np.array([one.difference.value for one in found])
    halves = np.array([(one.difference.high or 0.0) - one.difference.value for one in found])
    held = int((np.abs(values - truth) <= halves).sum())
    outcome.at_least(f"intervals of {SEEDS} seeds that hold the true difference", held, LEAST_HELD)
    in_sample = [one.in_sample[1] - one.in_sample[0] for one in found]
    missed = [one.baseline_estimated - one.baseline for one in found]
    outcome.measured(
        true_difference=truth,
        mean_of_the_estimates=float(values.mean()),
        root_mean_square_error=float(np.sqrt(((values - truth) ** 2).mean())),
        mean_half_width=float(halves.mean()),
        intervals_above_zero=int((values > halves).sum()),
        mean_difference_within_the_sample=float(np.mean(in_sample)),
        mean_miss_of_the_baseline=float(np.mean(missed)),
    )
    for seed in range(jobs):
        job = compare_spaces.run(
            spark, whole, "tried", sample=SAMPLE, queries=QUERIES, judgements=JUDGEMENTS, seed=seed, k=K
        )
        print(job)
        assert job.quality is not None
        apart = abs(job.quality.estimate.difference.value - values[seed])
        outcome.at_most(f"the job's estimate from this one, seed {seed}", float(apart), 0.002)
        total = sum(int(row.tokens) for row in _tokens(spark, whole))
        within = (job.cost.tokens.low or 0) <= total <= (job.cost.tokens.high or 0)
        outcome.equal(f"the interval of tokens holds the library's, seed {seed}", bool(within), True)
        outcome.measured(tokens=total, estimated_tokens=float(job.cost.tokens.value), rate=job.cost.tokens_per_second)
    return outcome


def _tokens(spark: SparkSession, settings: Settings) -> list:
    with delta_session(spark):
        rows = open_space(spark, settings, "next").vectors.rows
        return rows.groupBy().sum("token_count").toDF("tokens").collect()


def main() -> None:
    """Builds, evaluates, compares; exits 1 where too few intervals hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="Folder of the store; it is kept, and built only once.")
    parser.add_argument("--jobs", type=int, default=1, help="Seeds for which the job itself runs.")
    given = parser.parse_args()
    need(DATA / "scifact", MODEL)
    with tempfile.TemporaryDirectory() as scratch:
        store = given.store or scratch
        spark = get_session(corpus_settings(store).spark, quiet=True)
        outcome = validate(spark, store, given.jobs)
    write_outcome(ROOT / "tests" / "validate" / "results" / "compare.json", outcome, "make validate-compare")
    sys.exit("\n".join(outcome.faults) or 0)


if __name__ == "__main__":
    main()
