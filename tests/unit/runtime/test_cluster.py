"""What answers at a master's address, and faults of a cluster that Spark words in its own way."""

import socket
from collections.abc import Iterator

import pytest

from schemas.errors import InputError
from spark_jobs.runtime.cluster import check_master, cluster_fault, is_local, missing_package, unreachable_masters


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_masters_that_answer_and_that_do_not(listening: int, closed: int) -> None:
    assert unreachable_masters(f"spark://127.0.0.1:{listening}") == []
    assert unreachable_masters(f"spark://127.0.0.1:{closed}") == [f"127.0.0.1:{closed}"]
    # One of several is enough.
    assert unreachable_masters(f"spark://127.0.0.1:{closed},127.0.0.1:{listening}") == []
    assert unreachable_masters("spark://no port") == ["no port"]
    assert unreachable_masters("local[*]") == unreachable_masters("k8s://https://127.0.0.1:1") == []


def test_servers_of_connect_that_answer_and_that_do_not(listening: int, closed: int) -> None:
    assert unreachable_masters(f"sc://127.0.0.1:{listening}/;token=secret") == []
    assert unreachable_masters(f"sc://127.0.0.1:{closed}/;token=secret") == [f"127.0.0.1:{closed}"]
    assert unreachable_masters("sc://[::1]:1") == ["[::1]:1"]
    with pytest.raises(InputError) as caught:
        check_master(f"sc://127.0.0.1:{closed}/;token=secret")
    told = f"nothing answers at the Connect server 127.0.0.1:{closed}. Start the cluster, or correct SPARK_REMOTE."
    assert str(caught.value) == told


def test_a_server_without_a_port_is_asked_at_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: asked.append(address) or socket.socket())
    assert unreachable_masters("sc://head/;use_ssl=true") == []
    assert asked == [("head", 15002)]


def test_local_masters_are_told_from_clusters() -> None:
    assert all(map(is_local, ["local", "local[2]", "local[*]", "local[2,4]"]))
    assert not any(map(is_local, ["local-cluster[2,1,1024]", "spark://local:7077", "yarn", "k8s://local", "localhost"]))


# As Spark 4.2 words them, shortened; each with a value of a row that must not be repeated.
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12 than that in "
            "driver: 3.11, PySpark cannot run with different minor versions.\nSECRET",
            "executors have Python 3.12, and the driver has 3.11. Install the driver's version there,",
        ),
        (
            'SECRET java.io.IOException: Cannot run program "/opt/env/bin/python": error=2, No such file or directory',
            "executors cannot start /opt/env/bin/python, which they were told to use as Python. Install Python there,",
        ),
        (
            "Job aborted due to stage failure: Master removed our application: FAILED SECRET",
            "the cluster gave the job up, because its executors ended as soon as they started. The logs of",
        ),
        (
            "Reason: Master removed our application: KILLED",
            "somebody ended the job at the cluster's master. Run the same command again",
        ),
        (
            "Task 0 in stage 9.0 failed 4 times, most recent failure: Lost task 0.3 in stage 9.0 (TID 9) (10.0.0.9 "
            "executor 4): ExecutorLostFailure (executor 4 exited caused by one of the running tasks) Reason: SECRET",
            "executors ended again and again while they worked. Their logs say why.",
        ),
        (
            "Exception in thread main java.lang.RuntimeException: [unresolved dependency: io.delta#delta-spark_4.2_2."
            "13;4.4.0: not found]",
            "the package io.delta#delta-spark_4.2_2.13;4.4.0 cannot be fetched. Give the driver a Maven repository",
        ),
        ("SECRET: something else", None),
    ],
)
def test_a_fault_of_a_cluster_is_told_with_a_remedy_and_without_values(text: str, told: str | None) -> None:
    found = cluster_fault(text)
    assert (found or "").startswith(told or "") and (found is None) == (told is None)
    assert "SECRET" not in (found or "") and "\n" not in (found or "")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("No module named 'udfs'", "workers do not find embedlake. Send it with the job,"),
        ("No module named 'schemas.errors'", "workers do not find embedlake. "),
        ("No module named 'tokenizers'", "workers have no package tokenizers. Install there what setup.py lists,"),
        ("model /m is not on this worker.", None),
    ],
)
def test_workers_without_a_package_are_told_how_to_get_it(message: str, told: str | None) -> None:
    found = missing_package(message)
    assert (found or "").startswith(told or "") and (found is None) == (told is None)
