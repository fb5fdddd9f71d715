"""Versions that go together, and packages that are the same everywhere."""

from dataclasses import replace
from typing import Any

import pytest

from spark_jobs.diagnosis.findings import Finding
from spark_jobs.diagnosis.machines import Machine
from spark_jobs.diagnosis.versions import Versions, find_versions, judge_packages, judge_python, judge_versions
from tests.support.machines import DRIVER, SOUND, two

FITTING = Versions(
    pyspark="4.2.0",
    spark="4.2.0",
    delta_package="4.4.0",
    delta_needs="pyspark<4.3,>=4.0.1",
    delta_jar="4.4.0",
    jar_needs="4.2",
)


def shown(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.name, each.level) for each in findings]


def with_packages(**packages: str | None) -> list[Machine]:
    return two(packages={**SOUND.packages, **packages})


def test_versions_that_fit() -> None:
    assert shown(judge_versions(FITTING)) == [("spark", "ok"), ("delta", "ok")]


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({"spark": "4.1.0", "jar_needs": "4.1"}, [("spark", "fault"), ("delta", "ok")], "pyspark is 4.2.0"),
        ({"jar_needs": "4.0"}, [("spark", "ok"), ("delta", "fault")], "is for Spark 4.0, and Spark is 4.2.0"),
        ({"delta_needs": "pyspark<3.6,>=3.5.3"}, [("spark", "ok"), ("delta", "fault")], "needs pyspark<3.6"),
        ({"delta_jar": "4.3.0"}, [("spark", "ok"), ("delta", "warning")], "the jar is 4.3.0"),
        ({"delta_fault": "it cannot. Do this."}, [("spark", "ok"), ("delta", "fault")], "it cannot."),
    ],
)
def test_versions_that_do_not_fit(changes: dict[str, Any], expected: list[tuple[str, str]], words: str) -> None:
    found = judge_versions(replace(FITTING, **changes))
    assert shown(found) == expected
    assert any(words in each.cause for each in found)
    assert all(each.remedy for each in found if each.level != "ok")


def test_a_platform_that_tells_nothing_is_not_at_fault() -> None:
    assert shown(judge_versions(Versions(spark="4.1.0"))) == [("spark", "ok"), ("delta", "ok")]


def test_without_a_session_the_packages_tell() -> None:
    found = find_versions(None, {"spark.jars.packages": "a:b:1,io.delta:delta-spark_4.0_2.13:4.0.1"})
    assert (found.spark, found.jar_needs, found.delta_jar) == ("", "4.0", "4.0.1")
    assert found.delta_needs.startswith("pyspark")


def test_another_python_on_one() -> None:
    (found,) = judge_python(DRIVER, two(python=(3, 12, 1), executable="/opt/python"))
    assert found.level == "fault"
    assert found.cause == (
        "the driver has Python 3.11.7, but there is Python 3.12.1 (/opt/python) on executor 1 on two."
    )
    assert shown(judge_python(DRIVER, two(python=(3, 11, 2)))) == [("python", "ok")]


@pytest.mark.parametrize(
    ("code", "words"),
    [(127, "was not found on"), (124, "did not answer in time on"), (1, "ended with exit code 1 on")],
)
def test_a_python_that_does_not_run_on_one(code: int, words: str) -> None:
    (found,) = judge_python(DRIVER, two(failed=code, python=()))
    assert (found.level, found.cause) == ("fault", f"the workers' Python {words} executor 1 on two.")


def test_a_driver_whose_own_probe_fails_is_told_too() -> None:
    (found,) = judge_python(replace(DRIVER, failed=1, python=()), two())
    assert (found.level, found.cause) == ("fault", "the workers' Python ended with exit code 1 on the driver.")


def test_the_same_packages_everywhere() -> None:
    assert shown(judge_packages(DRIVER, two())) == [("packages", "ok")]


def test_a_package_that_one_lacks() -> None:
    (found,) = judge_packages(DRIVER, with_packages(torch=None))
    assert found.level == "fault" and found.cause.startswith("torch is missing") and "executor 1 on two." in found.cause


def test_packages_that_may_be_missing() -> None:
    assert shown(judge_packages(DRIVER, with_packages(pyspark=None))) == [("packages", "ok")]
    assert shown(judge_packages(DRIVER, two())) == [("packages", "ok")]


def test_a_driver_needs_no_torch() -> None:
    driver = replace(DRIVER, packages={**DRIVER.packages, "torch": None})
    assert shown(judge_packages(driver, two())) == [("packages", "ok")]
    assert shown(judge_packages(driver, [driver])) == [("packages", "fault")]
    assert judge_packages(driver, []) == []


@pytest.mark.parametrize(("name", "level"), [("embedlake", "fault"), ("pyspark", "fault"), ("torch", "warning")])
def test_another_version_on_one(name: str, level: str) -> None:
    (found,) = judge_packages(DRIVER, with_packages(**{name: "9.9"}))
    assert found.level == level
    assert found.cause.endswith("on the driver and executor 0 on one, 9.9 on executor 1 on two.")


def test_a_package_without_a_version_is_there() -> None:
    assert shown(judge_packages(DRIVER, with_packages(torch=""))) == [("packages", "ok")]
