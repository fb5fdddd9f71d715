"""Memory, cores, processors, disks and clocks: what is enough, what is tight, and what fails."""

from dataclasses import replace

import pytest

from spark_jobs.diagnosis.capacity import (
    bytes_of,
    judge_clocks,
    judge_cores,
    judge_disks,
    judge_half_precision,
    judge_memory,
    worker_bytes,
)
from spark_jobs.diagnosis.findings import Finding
from spark_jobs.diagnosis.machines import Disk
from tests.support.machines import GIB, SOUND, two

MIB = 2**20


def levels(findings: list[Finding]) -> list[str]:
    return [each.level for each in findings]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 * MIB),
        ("4g", 4 * GIB),
        ("4GB", 4 * GIB),
        ("2048", 2048 * MIB),
        ("1k", 1024),
        ("", None),
        ("m", None),
        ("4x", None),
    ],
)
def test_sizes_are_read_as_spark_reads_them(text: str, size: int | None) -> None:
    assert bytes_of(text) == size


def test_a_worker_takes_a_gigabyte_and_its_weights_three_times() -> None:
    assert worker_bytes(100 * MIB, is_fake=False) == 1500 * MIB
    assert worker_bytes(0, is_fake=True) == 200 * MIB


def test_memory_that_suffices() -> None:
    assert levels(judge_memory(2 * GIB, {}, two())) == ["ok"]


def test_memory_that_does_not_hold_one_worker_is_a_fault() -> None:
    (found,) = judge_memory(2 * GIB, {}, two(memory=1 * GIB))
    assert (found.level, found.cause) == (
        "fault",
        "a worker with this model takes about 2.0 GiB, and only 1.0 GiB are free on executor 1 on two.",
    )


def test_memory_that_holds_one_worker_but_not_one_for_each_core_is_a_warning() -> None:
    (found,) = judge_memory(2 * GIB, {}, two(memory=3 * GIB))
    assert (found.level, found.cause) == (
        "warning",
        "2 workers of an executor would take about 4.0 GiB, and 3.0 GiB are free on executor 1 on two.",
    )


def test_executors_of_one_machine_share_its_memory() -> None:
    machines = [replace(each, host="one", memory=6 * GIB, executor_cores=1) for each in two()]
    assert levels(judge_memory(4 * GIB, {}, machines)) == ["fault"]
    assert levels(judge_memory(3 * GIB, {}, machines)) == ["ok"]


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"spark.executor.pyspark.memory": "512m"}, "spark.executor.pyspark.memory is 512 MiB"),
        ({"spark.master": "yarn", "spark.executor.memoryOverhead": "1g"}, "spark.executor.memoryOverhead is 1.0 GiB"),
        # Spark's own choice is a tenth of 8 GiB, and at least 384 MiB.
        ({"spark.master": "yarn", "spark.executor.memory": "8g"}, "spark.executor.memoryOverhead is 819 MiB"),
        ({"spark.master": "yarn"}, "spark.executor.memoryOverhead is 384 MiB"),
        ({"spark.master": "k8s://host", "spark.executor.memory": "4g"}, "spark.executor.memoryOverhead is 1.6 GiB"),
    ],
)
def test_limits_of_spark_s_own_are_faults(properties: dict[str, str], named: str) -> None:
    (found,) = judge_memory(2 * GIB, properties, two())
    assert found.level == "fault" and found.cause.startswith(named) and "2.0 GiB" in found.remedy


def test_overhead_limits_nothing_on_a_standalone_cluster() -> None:
    properties = {"spark.master": "spark://one:7077", "spark.executor.memoryOverhead": "1g"}
    assert levels(judge_memory(2 * GIB, properties, two())) == ["ok"]


def test_more_cores_than_there_are() -> None:
    machines = [replace(each, host="one", cores=3) for each in two()]
    (found,) = judge_cores({}, machines)
    assert (found.level, found.cause) == ("warning", "executors on one run tasks on 4 cores, and it has 3.")
    assert levels(judge_cores({}, two())) == ["ok"]


def test_more_threads_than_a_task_has_cores() -> None:
    (found,) = judge_cores({"spark.task.cpus": "2"}, two(threads="8"))
    assert found.cause == "OMP_NUM_THREADS is 8 on executor 1 on two, and a task has 2 cores."
    assert levels(judge_cores({"spark.task.cpus": "2"}, two(threads="2"))) == ["ok"]


@pytest.mark.parametrize(
    ("dtype", "second", "expected"),
    [
        ("auto", ["amx_tile"], ["ok"]),
        ("auto", [], ["warning"]),
        ("bfloat16", [], ["warning"]),
        ("float32", [], ["ok"]),
        ("bfloat16", ["avx512_bf16"], ["ok"]),
    ],
)
def test_processors_are_of_one_kind_and_fit(dtype: str, second: list[str], expected: list[str]) -> None:
    assert levels(judge_half_precision(dtype, False, two(half_precision=second))) == expected


def test_processors_do_not_matter_for_a_stand_in_or_beside_a_gpu() -> None:
    assert judge_half_precision("auto", True, two(half_precision=[])) == []
    assert levels(judge_half_precision("auto", False, two(half_precision=[], gpus=["H100"]))) == ["ok"]


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        (Disk("/data", 20 * MIB, True), [("fault", "/data on executor 1 on two has 20 MiB free for shuffles.")]),
        (Disk("/data", 5 * GIB, True), [("warning", "/data on executor 1 on two has 5.0 GiB free for shuffles.")]),
        (Disk("/data", 50 * GIB, False), [("fault", "shuffles cannot be written to /data on executor 1 on two.")]),
        (Disk("/data", 50 * GIB, True), [("ok", "50.0 GiB or more are free for shuffles.")]),
        (Disk("/data", 0, True), [("fault", "/data on executor 1 on two has 0 MiB free for shuffles.")]),
    ],
)
def test_disks_have_room_and_can_be_written(disk: Disk, expected: list[tuple[str, str]]) -> None:
    assert [(each.level, each.cause) for each in judge_disks(two(disks=[disk]))] == expected


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        (4.9, "ok", "no clock differs from the driver's by 5 s."),
        (5.0, "warning", "the clock of executor 1 on two is 5 s or more ahead of the driver's."),
        (-59.0, "warning", "the clock of executor 1 on two is 59 s or more behind the driver's."),
        (3600.0, "fault", "the clock of executor 1 on two is 3,600 s or more ahead of the driver's."),
        (-3600.0, "fault", "the clock of executor 1 on two is 3,600 s or more behind the driver's."),
    ],
)
def test_clocks(ahead: float, level: str, words: str) -> None:
    assert [(each.level, each.cause) for each in judge_clocks(two(seconds_ahead=ahead), 0.0)] == [(level, words)]


def test_the_store_has_a_clock_too() -> None:
    (found,) = judge_clocks([SOUND], -900.0)
    assert (found.level, found.cause) == ("fault", "the clock of the store is 900 s or more behind the driver's.")
