"""What a title before each chunk gains, on judged libraries that are cut into short chunks; paired, query by query.

Run by `make validate-context`, or with the names of parts: scifact, cranfield, edits. Abstracts of SciFact and of the
Cranfield collection are cut at 64 tokens, once with the title as the beginning of the text, once with the title before
every chunk. The Cranfield collection is read from the folder that TEST_CRANFIELD_FOLDER names, as TREC's XML:
cran.all.1400.xml, cran.qry.xml and cranqrel.trec.txt. Part `edits` edits abstracts whose chunks have titles.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from spark_jobs import embed_library, evaluate_library  # noqa: E402
from spark_jobs.evaluation.report import Evaluation  # noqa: E402
from spark_jobs.runtime.session import get_session  # noqa: E402
from spark_jobs.settings import Settings, as_settings  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import DATA, MODEL, need  # noqa: E402
from tests.validate.scores import JUDGEMENTS, QUERIES  # noqa: E402
from udfs.chunking.chunks import chunk_text  # noqa: E402
from udfs.encoders.token_counter import load_token_counter  # noqa: E402
from udfs.models.source import describe_model  # noqa: E402
from udfs.specs import ChunkSpec  # noqa: E402

CRANFIELD = Path(os.environ.get("TEST_CRANFIELD_FOLDER", DATA / "cranfield"))
MAX_TOKENS, CUTOFF = 64, 10
TRIALS, MOST_CHANGED, LEAST_STABLE = 2_000, 3, 0.97
_RECORD = re.compile(r"<doc>(.*?)</doc>", re.DOTALL)
_QUERY = re.compile(r"<num>\s*(\d+)\s*</num>\s*<title>(.*?)</title>", re.DOTALL)


@dataclass(frozen=True)
class Judged:
    """A judged library.

    Attributes:
        name: Name of the library.
        corpus: File of JSON lines with _id, title and text.
        queries: File of queries.
        judgements: File of their judgments.
    """

    name: str
    corpus: Path
    queries: Path
    judgements: Path


def scifact(_: Path) -> Judged:
    """Finds SciFact."""
    need(DATA / "scifact")
    return Judged("scifact", DATA / "scifact" / "corpus.jsonl", QUERIES, JUDGEMENTS)


def cranfield(folder: Path) -> Judged:
    """Converts the Cranfield collection; its texts begin with their titles, which are taken off there."""
    need(CRANFIELD)
    judged = Judged("cranfield", folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels.tsv")
    documents = _RECORD.findall((CRANFIELD / "cran.all.1400.xml").read_text(encoding="utf-8"))
    with judged.corpus.open("w", encoding="utf-8") as file:
        for document in documents:
            title, text = _field(document, "title"), _field(document, "text")
            row = {"_id": _field(document, "docno"), "title": title, "text": text.removeprefix(title).strip()}
            file.write(json.dumps(row) + "\n")
    # Queries are judged by their order in the file, not by their numbers there.
    queries = _QUERY.findall((CRANFIELD / "cran.qry.xml").read_text(encoding="utf-8"))
    with judged.queries.open("w", encoding="utf-8") as file:
        for number, (_, text) in enumerate(queries, start=1):
            file.write(json.dumps({"_id": str(number), "text": " ".join(text.split())}) + "\n")
    judgements = (line.split() for line in (CRANFIELD / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines())
    with judged.judgements.open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, _, document, grade in judgements:
            file.write(f"{query}\t{document}\t{grade}\n")
    return judged


def _field(document: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", document, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def settings_of(judged: Judged, store: str, space: str) -> Settings:
    """Describes a space: `main` has the title at the beginning of the text, `titled` before every chunk."""
    is_titled = space == "titled"
    values: dict[str, Any] = {
        "library": judged.name,
        "space": space,
        "store": {"path": store},
        "source": {
            "format": "json",
            "path": str(judged.corpus),
            "id_column": "_id",
            "text_columns": ["text"] if is_titled else ["title", "text"],
            # A document may have a title alone.
            "filter": "text != ''",
        },
        "chunking": {"max_tokens": MAX_TOKENS, "context": "title" if is_titled else "none"},
        "model": {"path": str(MODEL), "dtype": "float32"},
    }
    return as_settings(values)


def gain(spark: SparkSession, judged: Judged, store: str) -> Outcome:
    """Builds both spaces and measures the difference of each measure, with paired bootstrap intervals."""
    outcome = Outcome(judged.name)
    for space in ("main", "titled"):
        print(embed_library.run(spark, settings_of(judged, store, space)))
    found = evaluate_library.run(
        spark,
        settings_of(judged, store, "titled"),
        queries=judged.queries,
        judgements=judged.judgements,
        space="titled",
        against="main",
        k=CUTOFF,
    )
    assert isinstance(found, Evaluation) and found.comparison is not None
    print(found)
    outcome.measured(queries=len(found.judged.queries), chunk_tokens=MAX_TOKENS)
    for measure, difference in found.comparison.differences.items():
        name = str(measure)
        outcome.measured(
            **{
                f"{name}, title before every chunk": found.scores.means[measure],
                f"{name}, title at the beginning of the text": found.comparison.other.means[measure],
                f"{name}, difference": difference.value,
                f"{name}, interval": f"{difference.low:+.5f} to {difference.high:+.5f}",
            }
        )
    by_name = {str(measure): difference for measure, difference in found.comparison.differences.items()}
    outcome.at_least(
        f"nDCG@{CUTOFF}, lower end of the difference's interval", by_name[f"nDCG@{CUTOFF}"].low or 0.0, 0.0
    )
    return outcome


def edits(_: SparkSession, judged: Judged, __: str) -> Outcome:
    """Edits a sentence, or the title, of abstracts whose chunks have titles, and counts the chunks that change."""
    outcome, draw = Outcome("edits"), random.Random(11)
    model = describe_model(str(MODEL))
    counter = load_token_counter(model, model.document_prompt)
    spec = ChunkSpec(method="structure", max_tokens=MAX_TOKENS, min_tokens=MAX_TOKENS // 4, context=("title",))

    def chunks_of(title: str, text: str) -> list[tuple[str, str]]:
        return [(chunk.context, chunk.text) for chunk in chunk_text(text, spec, counter, title)]

    with judged.corpus.open(encoding="utf-8") as file:
        documents = [row for row in map(json.loads, file) if len(row["text"]) > 800]
    stable = moved = 0
    for _trial in range(TRIALS):
        document = draw.choice(documents)
        sentences = document["text"].split(". ")
        at = draw.randrange(len(sentences))
        edited = [*sentences[:at], sentences[at] + " and this was added", *sentences[at + 1 :]]
        before = chunks_of(document["title"], document["text"])
        after = chunks_of(document["title"], ". ".join(edited))
        stable += len([chunk for chunk in after if chunk not in before]) <= MOST_CHANGED
        # At its beginning, because the end of a long title is cut off.
        retitled = chunks_of("Revised: " + document["title"], document["text"])
        moved += any(chunk in before for chunk in retitled)
    outcome.measured(trials=TRIALS, documents=len(documents))
    outcome.at_least(f"edits of a sentence that change at most {MOST_CHANGED} chunks", stable / TRIALS, LEAST_STABLE)
    outcome.equal("edits of a title that leave a chunk of the document as it was", moved, 0)
    return outcome


PARTS: dict[str, tuple[Callable[[Path], Judged], Callable[[SparkSession, Judged, str], Outcome]]] = {
    "scifact": (scifact, gain),
    "cranfield": (cranfield, gain),
    "edits": (scifact, edits),
}


def main() -> None:
    """Measures the parts; exits 1 if a context does not gain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    given = parser.parse_args()
    need(MODEL)
    faults = []
    for name in given.parts or PARTS:
        read, measure = PARTS[name]
        with tempfile.TemporaryDirectory() as scratch:
            judged, store = read(Path(scratch)), str(Path(scratch, "store"))
            spark = get_session(settings_of(judged, store, "main").spark, quiet=True)
            outcome = measure(spark, judged, store)
        write_outcome(ROOT / "tests" / "validate" / "results" / "context.json", outcome, "make validate-context")
        faults += outcome.faults
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
