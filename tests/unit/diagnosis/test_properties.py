"""Properties that conf/ recommends, and those that a platform refuses."""

import re

import pytest

from spark_jobs.diagnosis.properties import ADVISED, SessionProperties, judge_properties
from tests.support.paths import ROOT

ALL = {name: advised.value for name, advised in ADVISED.items()}


def lines(name: str) -> dict[str, str]:
    text = (ROOT / "conf" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^(spark\.\S+) +(\S.*)$", text, re.MULTILINE))


def test_what_is_advised_is_what_conf_has() -> None:
    local, gpu = lines("spark-local.conf"), lines("spark-gpu.conf")
    wrong = [
        name
        for name, advised in ADVISED.items()
        if (gpu if advised.only == "gpu" else local).get(name) != advised.value
    ]
    assert wrong == []
    cluster = lines("spark-cluster.conf")
    everywhere = {name: advised.value for name, advised in ADVISED.items() if not advised.only}
    assert cluster.items() >= everywhere.items()
    # What is of one machine alone has no place there.
    assert not [name for name, advised in ADVISED.items() if advised.only and name in cluster]
    assert cluster.items() <= local.items()


def test_the_file_that_is_named_is_that_of_the_session() -> None:
    for master, file in (("local[2]", "conf/spark-local.conf"), ("spark://one:7077", "conf/spark-cluster.conf")):
        found = judge_properties(SessionProperties(values={"spark.master": master}))
        assert found and all(file in each.remedy for each in found)


def test_as_conf_has_them() -> None:
    (found,) = judge_properties(SessionProperties(values=ALL))
    assert found.level == "ok"


def warned(values: dict[str, str]) -> list[str]:
    found = judge_properties(SessionProperties(values=values))
    assert all(each.level in ("ok", "warning") for each in found)
    return [each.cause.partition(" ")[0] for each in found if each.level == "warning"]


def test_a_cluster_that_sets_nothing() -> None:
    assert warned({"spark.master": "spark://one:7077"}) == [
        "spark.scheduler.mode",
        "spark.sql.execution.arrow.maxRecordsPerBatch",
        "spark.sql.session.timeZone",
    ]


def test_one_machine_that_sets_nothing() -> None:
    only_local = {"spark.databricks.delta.snapshotPartitions", "spark.sql.shuffle.partitions", "spark.ui.enabled"}
    assert only_local <= set(warned({"spark.master": "local[2]"}))


def test_properties_of_gpus_matter_where_there_are_gpus() -> None:
    values = {**ALL, "spark.python.factory.idleWorkerMaxPoolSize": "8"}
    assert warned(values) == []
    assert warned({**values, "spark.executor.resource.gpu.amount": "1"}) == [
        "spark.python.factory.idleWorkerMaxPoolSize"
    ]


@pytest.mark.parametrize(
    ("name", "value", "is_warned"),
    [
        ("spark.sql.execution.arrow.maxRecordsPerBatch", "8192", False),
        ("spark.sql.execution.arrow.maxRecordsPerBatch", "8193", True),
        ("spark.sql.session.timeZone", "Etc/UTC", False),
        ("spark.sql.session.timeZone", "Europe/Berlin", True),
        ("spark.scheduler.mode", "fair", False),
        ("spark.python.worker.reuse", "false", True),
        ("spark.speculation", "true", True),
    ],
)
def test_values_that_suit_and_that_do_not(name: str, value: str, is_warned: bool) -> None:
    assert warned({**ALL, name: value}) == [name] * is_warned


def test_refused_and_ignored_ones_are_named_without_values() -> None:
    found = SessionProperties(
        values={**ALL, "spark.hadoop.fs.s3a.secret.key": "secret"},
        refused=("spark.databricks.delta.write.txnAppId", "spark.sql.parquet.compression.codec"),
        ignored=("spark.hadoop.fs.s3a.secret.key",),
    )
    fence, refused, ignored = judge_properties(found)
    assert "txnAppId" in fence.cause and "--take-over" in fence.remedy
    assert refused.cause == "the platform does not let a job set spark.sql.parquet.compression.codec."
    assert "spark.hadoop.fs.s3a.secret.key" in ignored.cause and "secret." not in ignored.cause.replace(".secret.", "")
