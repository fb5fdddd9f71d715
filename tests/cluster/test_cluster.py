"""A library on a cluster of two workers: executors are other processes than the driver, with a Python of their own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.packaging import build_wheel, make_bare_python
from tests.support.refresh.library import Library
from tests.support.refresh.oracle import MAX_TOKENS, Oracle, fails
from tests.support.small_tables import FIRST_COMPILER, PROPERTIES
from tests.support.standalone import Cluster, Worker, free_port, standalone_cluster
from tests.support.submitting import Submitter, clean_environment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SEED = 11
SMALL = {
    **PROPERTIES,
    "spark.driver.extraJavaOptions": FIRST_COMPILER,
    "spark.executor.extraJavaOptions": FIRST_COMPILER,
    "spark.executor.memory": "512m",
    "spark.ui.enabled": "false",
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with standalone_cluster(tmp_path / "cluster", [Worker(), Worker()], clean_environment()) as started:
        yield started


@pytest.fixture
def submit(tmp_path: Path) -> Submitter:
    """Sends the packages with each job: neither the driver's Python nor that of executors has them."""
    for name in ("sources", "dist", "jobs"):
        tmp_path.joinpath(name).mkdir()
    packages = build_wheel(tmp_path / "sources", tmp_path / "dist").rename(tmp_path / "embedlake.zip")
    python = make_bare_python(tmp_path / "bare")
    return Submitter(packages, python, clean_environment(), tmp_path / "jobs", properties=SMALL)


def write_settings(folder: Path) -> Path:
    values = {
        "library": "toy",
        "store": {"path": str(folder / "lake")},
        "source": {
            "format": "delta",
            "path": str(folder / "source"),
            "id_column": "id",
            "text_columns": ["text"],
            "payload_columns": ["n"],
        },
        "chunking": {"max_tokens": MAX_TOKENS},
        "model": {"path": "fake:8"},
        "run": {"max_quarantined_fraction": 1.0, "max_removed_fraction": 1.0},
    }
    path = folder / "settings.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


# Worth its minute: in no other test are executors on another machine, as Spark sees it. What the driver alone has (a
# package, a file, an open port, the rows of a local table) is missing there, and is found by nothing else. One session
# does everything, because starting three Javas takes most of the time; the campaign of `make validate-cluster` has a
# process for each job, and kills workers and drivers too.
def test_a_library_is_loaded_refreshed_and_searched_on_two_workers(
    submit: Submitter, cluster: Cluster, tmp_path: Path
) -> None:
    library, oracle = Library(tmp_path / "next", SEED), Oracle()
    library.change(60)
    library.publish()
    first = dict(library.documents)
    shutil.copytree(tmp_path / "next", tmp_path / "source")
    library.change(30)
    library.publish()
    texts = (text for text, _ in library.documents.values() if not fails(text))
    question = next(text for text in texts if 0 < len(text.split()) <= MAX_TOKENS // 2)

    script = Path(__file__).with_name("load_refresh_search.py")
    done = submit.at(cluster.master)(script, write_settings(tmp_path), tmp_path, question)
    assert done.code == 0, done.text
    for documents, store in ((first, "first"), (library.documents, "lake")):
        oracle.attempted(documents)
        assert oracle.succeeded(documents, tmp_path / store / "toy" / "main") == []
    (hit,) = [json.loads(line) for line in done.text.splitlines() if line.startswith("{")]
    # The stand-in model gives equal texts equal vectors.
    assert (hit["text"], round(hit["score"], 4)) == (question, 1.0)
    assert "Traceback" not in done.text and "Exception" not in done.text
    # Each worker had an executor.
    assert all(list(cluster.folder.glob(f"work-{number}/app-*/*/stderr")) for number in range(2))


# Worth its seconds: only under spark-submit are the properties those of Java, of which Python knows nothing at first.
def test_spark_submit_at_a_master_that_is_down_is_refused_at_once(submit: Submitter, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = submit.at(f"spark://{address}")("embed_library", "--config", write_settings(tmp_path))
    assert done.code == 2, done.text
    assert done.message == f"nothing answers at the master {address}. Start the cluster, or correct spark.master."
    assert "Traceback" not in done.text
