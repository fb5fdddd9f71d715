"""Keeps a store and its source on a real S3 server, and compares with a store on this machine.

Run by `make validate-s3`, or with the names of parts: library, listing, documents, writers, crashes, troubles and
refusals.
The server is versitygw: it checks signatures, refuses a second writer by If-None-Match, and keeps objects as files, so
that tables are read past it too. It is built once, which takes two minutes. Needs the data sets (TEST_DATA_FOLDER).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from spark_jobs import (  # noqa: E402
    embed_library,
    export_library,
    maintain_space,
    search_library,
    show_status,
    verify_space,
)
from spark_jobs.runtime.session import get_session  # noqa: E402
from spark_jobs.search.nearest import SearchOptions  # noqa: E402
from spark_jobs.settings import Settings, as_settings  # noqa: E402
from spark_jobs.settings.sections import SparkSettings  # noqa: E402
from tests.support.object_store.proxy import Proxy, s3_proxy  # noqa: E402
from tests.support.object_store.server import S3Server, properties_of, s3_server  # noqa: E402
from tests.support.small_tables import PROPERTIES  # noqa: E402
from tests.support.template import files_source  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import Document, read_steps  # noqa: E402
from tests.validate.store_files import read_rows  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "object-store.json"
EDITIONS = ["2025-01-01", "2026-01-01"]
MODEL = "fake:64"
DOCUMENTS = 1_500
FILES = 5_000
_PUTS_AT_ONCE = 8
# Of each commit to the tables that a run keeps.
LASTING = ("vectors", "ledger")
Answer = TypeVar("Answer")


@dataclass
class Site:
    """What every part works with: a server, a proxy before it, and a session that knows both.

    Attributes:
        folder: A folder of this machine.
        server: The server; its bucket `lake` is reached directly.
        proxy: The proxy, through which the bucket `troubled` is reached.
        spark: The live session.
    """

    folder: Path
    server: S3Server
    proxy: Proxy
    spark: SparkSession

    def put(self, key: str, content: bytes) -> None:
        """Writes an object through the server."""
        with self.server.client().open_output_stream(key) as stream:
            stream.write(content)

    def objects(self, path: str) -> Path:
        """The folder behind an `s3a://` path."""
        return self.server.folder / "buckets" / path.removeprefix("s3a://")


def settings_of(store: str, source: str, /, **sections: dict[str, Any]) -> Settings:
    """Makes the settings of the library, wherever store and source are."""
    values: dict[str, Any] = {
        "library": "tldr",
        "store": {"path": store},
        "source": {"format": "parquet", "path": source, "id_column": "doc_id", "text_columns": ["text"]},
        "model": {"path": MODEL},
        "run": {"max_removed_fraction": 1.0},
    }
    return as_settings(values | {name: values.get(name, {}) | section for name, section in sections.items()})


@contextmanager
def site() -> Iterator[Site]:
    """Starts all of it in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="embedlake-s3-") as name:
        folder = Path(name)
        folder.joinpath("server").mkdir()
        with s3_server(folder / "server") as server, s3_proxy(server.port) as proxy:
            server.make_bucket("troubled")
            os.environ.update(server.credentials)
            properties = {
                **PROPERTIES,
                **properties_of(server.endpoint),
                "spark.hadoop.fs.s3a.bucket.troubled.endpoint": proxy.endpoint,
                # The smallest, so that compacted files come in parts.
                "spark.hadoop.fs.s3a.multipart.size": "5M",
                "spark.driver.memory": "3g",
                "spark.sql.warehouse.dir": str(folder / "warehouse"),
            }
            spark = get_session(SparkSettings(master="local[2]", properties=properties), quiet=True)
            try:
                yield Site(folder, server, proxy, spark)
            finally:
                spark.stop()


def publish(here: Site, documents: list[Document]) -> None:
    """Writes the source to this machine and to the server."""
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(documents), buffer)
    content = buffer.getvalue().to_pybytes()
    local = here.folder / "source" / "documents.parquet"
    local.parent.mkdir(exist_ok=True)
    local.write_bytes(content)
    here.put("lake/source/documents.parquet", content)


def both(here: Site, outcome: Outcome, what: str, work: Callable[[Settings, str], Answer]) -> tuple[Answer, Answer]:
    """Does something to the local store and to that on the server, and notes seconds and requests."""
    local = settings_of(str(here.folder / "local"), str(here.folder / "source"))
    remote = settings_of("s3a://lake/store", "s3a://lake/source")
    begun = time.monotonic()
    one = work(local, str(here.folder / "out"))
    between, before = time.monotonic(), here.server.requests()
    other = work(remote, "s3a://lake/out")
    after = time.monotonic()
    requests = here.server.requests() - before
    outcome.measured(
        **{
            f"{what}_seconds_on_this_machine": round(between - begun, 1),
            f"{what}_seconds_on_s3": round(after - between, 1),
            f"{what}_requests": requests.total(),
            f"{what}_requests_by_kind": _counted(requests),
        }
    )
    return one, other


def _counted(requests: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in requests.most_common())


def compare_tables(here: Site, outcome: Outcome, when: str) -> None:
    """Holds the tables on the server to those of this machine, row by row, and their logs to the same commits."""
    for name in LASTING:
        local, remote = (root / "tldr" / "main" / name for root in _roots(here))
        outcome.equal(f"{when}: {name} on S3 equals the local one", _same(read_rows(local), read_rows(remote)), True)
    # On a disk Delta records each VACUUM by two commits, on S3 by none.
    commits = [
        sum('"operation":"VACUUM' not in file.read_text() for file in root.rglob("_delta_log/*.json"))
        for root in _roots(here)
    ]
    outcome.equal(f"{when}: commits on S3, of all tables, without those about VACUUM", commits[1], commits[0])


def _roots(here: Site) -> tuple[Path, Path]:
    return here.folder / "local", here.objects("s3a://lake/store")


def _same(one: pa.Table, other: pa.Table) -> bool:
    # Times of runs are not in these tables; what is there has to be equal, vectors included.
    names = [name for name in one.column_names if name != "updated_at"]
    return one.column_names == other.column_names and all(one[name].equals(other[name]) for name in names)


def library(here: Site, outcome: Outcome) -> None:
    """First load, refresh, nothing to do, search, export, verify and maintain, each on both stores."""
    spark = here.spark
    first, second = read_steps("tldr-en", EDITIONS, DOCUMENTS)
    publish(here, first.documents[:50])
    # Java compiles what it runs, which takes minutes: the first store would pay for both.
    for store in (str(here.folder / "warm"), "s3a://lake/warm"):
        embed_library.run(spark, settings_of(store, str(here.folder / "source")))
    publish(here, first.documents)
    _, report = both(here, outcome, "first_load", lambda settings, _: embed_library.run(spark, settings))
    outcome.equal("first load: documents embedded on S3", report.counts["library_embedded"], len(first.documents))
    compare_tables(here, outcome, "first load")
    publish(here, second.documents)
    _, report = both(here, outcome, "refresh", lambda settings, _: embed_library.run(spark, settings))
    found = tuple(report.counts[kind] for kind in ("added", "changed", "removed"))
    before, after = ({each["doc_id"]: each["text"] for each in step.documents} for step in (first, second))
    changed = sum(before[doc_id] != after[doc_id] for doc_id in before.keys() & after.keys())
    wanted = (len(after.keys() - before.keys()), changed, len(before.keys() - after.keys()))
    outcome.equal("refresh: documents added, changed and removed on S3", found, wanted)
    compare_tables(here, outcome, "refresh")
    _, report = both(here, outcome, "nothing_to_do", lambda settings, _: embed_library.run(spark, settings))
    outcome.equal("nothing to do: texts embedded on S3", report.counts["chunks_embedded"], 0)
    _read(here, outcome)
    _tidy(here, outcome)


def _read(here: Site, outcome: Outcome) -> None:
    questions = "".join(json.dumps({"_id": str(n), "text": f"list files {n}"}) + "\n" for n in range(20))
    here.folder.joinpath("queries.jsonl").write_text(questions)
    here.put("lake/queries.jsonl", questions.encode())

    def search(settings: Settings, out: str) -> object:
        queries = "s3a://lake/queries.jsonl" if out.startswith("s3a") else str(here.folder / "queries.jsonl")
        return search_library.run(here.spark, settings, queries, f"{out}/hits.parquet", SearchOptions(k=5))

    both(here, outcome, "search_of_20_queries", search)
    hits = [
        ds.dataset(root / "hits.parquet", format="parquet")
        .to_table()
        .sort_by([("query_id", "ascending"), ("rank", "ascending")])
        for root in (here.folder / "out", here.objects("s3a://lake/out"))
    ]
    outcome.equal("search: hits written to S3 equal the local ones", hits[0].equals(hits[1]), True)

    def export(settings: Settings, out: str) -> Any:
        target = here.folder / ("exported-s3" if out.startswith("s3a") else "exported-local")
        return export_library.run(here.spark, settings, f"parquet:{target}")

    _, report = both(here, outcome, "export_to_parquet", export)
    rows = ds.dataset(here.folder / "exported-s3", format="parquet").count_rows()
    outcome.equal("export from S3: rows in the folder", rows, report.sent)
    both(here, outcome, "status", lambda settings, _: show_status.run(here.spark, settings, Console(file=StringIO())))


def _tidy(here: Site, outcome: Outcome) -> None:
    _, report = both(here, outcome, "verify", lambda settings, _: verify_space.run(here.spark, settings))
    outcome.equal("verify on S3: faults", [str(finding) for finding in report.findings], [])

    def maintain(settings: Settings, _: str) -> object:
        short = settings.model_copy(
            update={"maintenance": settings.maintenance.model_copy(update={"retention_hours": 0.0})}
        )
        return maintain_space.run(here.spark, short, force=True)

    before = {path for path in _roots(here)[1].rglob("*.parquet")}
    both(here, outcome, "maintain", maintain)
    after = {path for path in _roots(here)[1].rglob("*.parquet")}
    outcome.at_least("maintain on S3: old files deleted", len(before - after), 1)
    compare_tables(here, outcome, "maintain")


def listing(here: Site, outcome: Outcome) -> None:
    """A source of many small objects: a first load, and a run with nothing to do."""
    texts = {f"{n // 500:02}/{n:05}.txt": f"Owls hunt mouse {n} at night.\n" for n in range(FILES)}
    for name, text in texts.items():
        path = here.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with ThreadPoolExecutor(_PUTS_AT_ONCE) as pool:
        list(pool.map(lambda name: here.put(f"lake/files/{name}", texts[name].encode()), texts))
    for what in ("files_first_load", "files_nothing_to_do"):
        seconds, counts, requests = [], [], Counter[str]()
        for store, root in (
            (str(here.folder / "of-files"), here.folder / "files"),
            ("s3a://lake/of-files", "s3a://lake/files"),
        ):
            settings = settings_of(store, str(root), source=files_source(root, "files"))
            begun, before = time.monotonic(), here.server.requests()
            counts.append(embed_library.run(here.spark, settings).counts)
            seconds.append(round(time.monotonic() - begun, 1))
            requests = here.server.requests() - before
        outcome.equal(f"{what}: documents on S3", counts[1]["library_embedded"], FILES)
        outcome.equal(f"{what}: chunks embedded on S3", counts[1]["chunks_embedded"], counts[0]["chunks_embedded"])
        outcome.measured(
            **{
                f"{what}_seconds_on_this_machine": seconds[0],
                f"{what}_seconds_on_s3": seconds[1],
                f"{what}_requests_by_kind": _counted(requests),
            }
        )
    stores = (here.folder / "of-files", here.objects("s3a://lake/of-files"))
    vectors = [read_rows(root / "tldr" / "main" / "vectors") for root in stores]
    outcome.equal("files: vectors on S3 equal the local ones", _same(*vectors), True)


def main() -> None:
    """Does the parts one after the other; exits 1 where a check does not hold."""
    from tests.validate.object_store_documents import documents
    from tests.validate.object_store_refusals import refusals
    from tests.validate.object_store_troubles import crashes, troubles
    from tests.validate.object_store_writers import writers

    parts = {each.__name__: each for each in (library, listing, documents, writers, crashes, troubles, refusals)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(parts)}; all where none is named")
    names = parser.parse_args().parts or list(parts)
    if set(names) - parts.keys():
        parser.error(f"no part {', '.join(sorted(set(names) - parts.keys()))}; there are {', '.join(parts)}")
    outcomes = []
    with site() as here:
        for name in names:
            print(name, flush=True)
            begun, outcome = time.monotonic(), Outcome(name)
            parts[name](here, outcome)
            outcome.measured(minutes=round((time.monotonic() - begun) / 60, 1))
            write_outcome(RESULTS, outcome, "make validate-s3")
            outcomes.append(outcome)
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    if faults:
        sys.exit("\n".join(["these checks do not hold:", *faults]))


if __name__ == "__main__":
    # The parts import this file by its own name.
    from tests.validate.object_store import main as of_module

    of_module()
