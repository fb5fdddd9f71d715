"""Reproduces the published retrieval score of all-MiniLM-L6-v2 on SciFact, from the stored Delta table.

Embeds the 5,183 abstracts (title and text, one chunk each) into a scratch store, reads the vectors back with
`deltalake`, which is not Spark, ranks them for the 300 test queries and compares nDCG@10 with the published figure.
Run by `make validate`; needs the SciFact files (TEST_DATA_FOLDER names their parent) and takes minutes.
"""

import csv
import json
import os
import sys
import tempfile
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from ir_measures import AP, RR, R, nDCG
from sentence_transformers import SentenceTransformer

from spark_jobs.embed_library import run
from spark_jobs.session import get_session
from spark_jobs.settings import as_settings

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.validate.outcome import Outcome, write_outcome  # noqa: E402

DATA = Path(os.environ.get("TEST_DATA_FOLDER", ROOT.parent / "shared" / "data")) / "scifact"
MODEL = Path(os.environ.get("TEST_MODEL_FOLDER", ROOT / "models" / "all-MiniLM-L6-v2"))
# MTEB's results repository, all-MiniLM-L6-v2 on SciFact, test split.
PUBLISHED = {nDCG @ 10: 0.64508, AP @ 10: 0.59593, RR @ 10: 0.60472, R @ 10: 0.78333, R @ 100: 0.92500}
TOLERANCE = 0.001
DTYPE = os.environ.get("VALIDATE_DTYPE", "float32")


def embed_corpus(store: str) -> str:
    """Runs the job on the corpus and returns the folder of its vectors."""
    settings = as_settings(
        {
            "library": "scifact",
            "store": {"path": store},
            "source": {
                "format": "json",
                "path": str(DATA / "corpus.jsonl"),
                "id_column": "_id",
                "text_columns": ["title", "text"],
            },
            "chunking": {"method": "none"},
            "model": {"path": str(MODEL), "dtype": DTYPE},
        }
    )
    print(run(get_session(settings.spark, quiet=True), settings))
    return f"{store}/scifact/main/vectors"


def read_judgements() -> tuple[dict[str, str], list[ir_measures.Qrel]]:
    """Reads the test judgements and the texts of the queries they are about."""
    with (DATA / "qrels" / "test.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    judged = [ir_measures.Qrel(row["query-id"], row["corpus-id"], int(row["score"])) for row in rows]
    wanted = {judgement.query_id for judgement in judged}
    with (DATA / "queries.jsonl").open() as file:
        queries = {row["_id"]: row["text"] for row in map(json.loads, file) if row["_id"] in wanted}
    return queries, judged


def rank(vectors: str, queries: dict[str, str], depth: int = 100) -> list[ir_measures.ScoredDoc]:
    """Ranks the stored vectors for each query by exact search."""
    # By the query engine, for the plain reader refuses tables with deletion vectors.
    query = QueryBuilder().register("vectors", DeltaTable(vectors)).execute("SELECT doc_id, embedding FROM vectors")
    stored = pa.table(query.read_all())
    documents = stored["doc_id"].to_pylist()
    matrix = np.vstack(stored["embedding"].to_numpy())
    asked = SentenceTransformer(str(MODEL), device="cpu").encode(list(queries.values()), show_progress_bar=False)
    scores = asked @ matrix.T
    found = []
    for query, row in zip(queries, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:depth]
        found += [ir_measures.ScoredDoc(query, documents[i], float(row[i])) for i in best]
    return found


def main() -> None:
    """Embeds, ranks, scores and compares; exits 1 where a figure is off."""
    if not DATA.is_dir() or not MODEL.is_dir():
        sys.exit(f"needs {DATA} and {MODEL}")
    queries, judged = read_judgements()
    outcome = Outcome(f"scifact, dtype {DTYPE}")
    with tempfile.TemporaryDirectory() as store:
        scored = ir_measures.calc_aggregate(list(PUBLISHED), judged, rank(embed_corpus(store), queries))
    for measure, published in PUBLISHED.items():
        outcome.measured(**{str(measure): scored[measure]})
        outcome.at_most(f"{measure} from the published {published}", abs(scored[measure] - published), TOLERANCE)
    write_outcome(ROOT / "tests" / "validate" / "results" / "scores.json", outcome, "make validate")
    sys.exit("\n".join(outcome.faults) or 0)


if __name__ == "__main__":
    main()
