"""Whether Spark and Delta go together, and whether executors have the Python and the packages of the driver."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.diagnosis.classic import java_of
from spark_jobs.diagnosis.findings import Finding, fault, grouped, listed, ok, told_groups, version_numbers, warning
from spark_jobs.diagnosis.machines import Machine
from spark_jobs.runtime.session import require_delta
from spark_jobs.runtime.spark_errors import cause_of

_JAR = re.compile(r"delta-spark_(?:(\d+\.\d+)_)?\d\.\d+-(\d[\w.-]*)\.jar")
_PACKAGE = re.compile(r"io\.delta:delta-spark_(?:(\d+\.\d+)_)?\d\.\d+:(\d[\w.-]*)")
_DELTA_CLASS = "org.apache.spark.sql.delta.DeltaLog"
# Workers can do without: the whole of Spark may come without a package, and OpenVINO is an alternative to torch.
_OPTIONAL = {"pyspark", "openvino"}
# Exit codes of a shell and of `timeout`.
_CODES = {"127": "was not found", "124": "did not answer in time", "137": "did not answer in time"}
# With another version of these, jobs are refused or break.
_SAME = {"embedlake", "pyspark"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of Spark and Delta on the driver.

    Attributes:
        pyspark: The package; empty if unknown.
        spark: What the session says of itself; empty without a session.
        delta_package: The package `delta-spark`; empty if it is missing.
        delta_needs: What that package says of pyspark, such as `pyspark<4.3,>=4.0.1`; empty if unknown.
        delta_jar: Version of Delta in Java; empty if unknown.
        jar_needs: Version of Spark that it is for, such as `4.2`; empty if it does not say.
        delta_fault: Why the session cannot use Delta; empty if it can or if there is no session.
    """

    pyspark: str = ""
    spark: str = ""
    delta_package: str = ""
    delta_needs: str = ""
    delta_jar: str = ""
    jar_needs: str = ""
    delta_fault: str = ""


def find_versions(spark: SparkSession | None, properties: Mapping[str, str]) -> Versions:
    """Finds the versions of Spark and Delta.

    Args:
        spark: The live session, if there is one.
        properties: Spark's properties in the settings, which may name a version of Delta.

    Returns:
        The versions. Without a session, those of the packages.
    """
    name, jar = "", _PACKAGE.search(properties.get("spark.jars.packages", ""))
    delta_fault = ""
    if spark is not None:
        with suppress(Exception):  # not over Connect, and not where Delta is missing
            name = _delta_jar(spark)
        jar = _JAR.search(name) or jar
        try:
            require_delta(spark)
        except InputError as error:
            delta_fault = str(error)
        except Exception as error:  # a session that has died
            delta_fault = f"the session does not answer: {cause_of(error).rstrip('.')}. Look at Spark's own messages."
    return Versions(
        pyspark=_installed("pyspark"),
        spark=str(spark.version) if spark is not None and not delta_fault.startswith("the session does") else "",
        delta_package=_installed("delta-spark"),
        delta_needs=_needed_pyspark(),
        delta_jar=jar[2] if jar is not None else "",
        jar_needs=(jar[1] or "") if jar is not None else "",
        delta_fault=delta_fault,
    )


def _delta_jar(spark: SparkSession) -> str:
    jvm = java_of(spark)
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    loaded = jvm.java.lang.Class.forName(_DELTA_CLASS, False, loader)
    return str(loaded.getProtectionDomain().getCodeSource().getLocation().toString())


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _needed_pyspark() -> str:
    try:
        needed = [Requirement(text) for text in requires("delta-spark") or ()]
    except PackageNotFoundError:
        return ""
    return next((str(each) for each in needed if each.name == "pyspark"), "")


def judge_versions(found: Versions) -> list[Finding]:
    """Judges Spark and Delta on the driver.

    Args:
        found: The versions.

    Returns:
        The findings.
    """
    findings = []
    if found.spark and found.pyspark and version_numbers(found.spark)[:2] != version_numbers(found.pyspark)[:2]:
        findings.append(
            fault(
                "spark",
                f"the package pyspark is {found.pyspark}, but the session is Spark {found.spark}.",
                "Install the package of the cluster's version.",
            )
        )
    elif found.spark or found.pyspark:
        findings.append(ok("spark", f"Spark is {found.spark or found.pyspark}."))
    return [*findings, *_delta(found)]


def _delta(found: Versions) -> list[Finding]:
    spark, faults = found.spark or found.pyspark, []
    if found.delta_fault:
        cause, _, remedy = found.delta_fault.partition(". ")
        faults.append(fault("delta", f"{cause}.", remedy))
    if found.jar_needs and spark and version_numbers(found.jar_needs)[:2] != version_numbers(spark)[:2]:
        faults.append(
            fault(
                "delta",
                f"the jar of Delta {found.delta_jar} is for Spark {found.jar_needs}, and Spark is {spark}.",
                "Name the package of this version of Spark in spark.jars.packages.",
            )
        )
    if found.delta_needs and found.pyspark and not _allows(found.delta_needs, found.pyspark):
        faults.append(
            fault(
                "delta",
                f"the package delta-spark {found.delta_package} needs {found.delta_needs}, and pyspark is "
                f"{found.pyspark}.",
                "Install versions that go together: pip install 'embedlake[spark]'.",
            )
        )
    if faults:
        return faults
    if found.delta_jar and found.delta_package and found.delta_jar != found.delta_package:
        return [
            warning(
                "delta",
                f"the package delta-spark is {found.delta_package}, and the jar is {found.delta_jar}.",
                "Use one version of both.",
            )
        ]
    return [ok("delta", f"Delta is {found.delta_jar or found.delta_package or 'what the platform brings'}.")]


def _allows(needed: str, installed: str) -> bool:
    return Requirement(needed).specifier.contains(installed, prereleases=True)


def judge_python(driver: Machine, machines: Sequence[Machine]) -> list[Finding]:
    """Judges whether executors have the driver's Python.

    Args:
        driver: The driver's machine.
        machines: The executors.

    Returns:
        The findings.
    """
    findings = []
    broken = [each for each in (driver, *machines) if each.failed is not None]
    for code, places in grouped((each.place, str(each.failed)) for each in broken).items():
        cause = _CODES.get(code, f"ended with exit code {code}")
        findings.append(
            fault(
                "python",
                f"the workers' Python {cause} on {listed(places)}.",
                "Look at what it does there, install the driver's version, and name it by PYSPARK_PYTHON or "
                "spark.pyspark.python.",
            )
        )
    working = [each for each in machines if each.failed is None]
    others = [each for each in working if each.python[:2] != driver.python[:2]]
    if others and driver.failed is None:
        groups = grouped((each.place, f"Python {_dotted(each.python)} ({each.executable})") for each in others)
        findings.append(
            fault(
                "python",
                f"the driver has Python {_dotted(driver.python)}, but there is {told_groups(groups)}.",
                "Install the driver's version there, and name it by PYSPARK_PYTHON or spark.pyspark.python.",
            )
        )
    if not findings:
        where = f", {len(working)} executor{'s' * (len(working) != 1)} included" if working else ""
        findings.append(ok("python", f"Python is {_dotted(driver.python)}{where}."))
    return findings


def _dotted(numbers: Iterable[int]) -> str:
    return ".".join(map(str, numbers))


def judge_packages(driver: Machine, machines: Sequence[Machine]) -> list[Finding]:
    """Judges whether executors have the packages that workers import, and all the same versions.

    Args:
        driver: The driver's machine; its packages matter where it has them.
        machines: The executors that answered; the driver's own machine where it would do their work.

    Returns:
        The findings.
    """
    working = [each for each in machines if each.failed is None]
    findings: list[Finding] = []
    names = list(dict.fromkeys(name for each in working for name in each.packages))
    for name in names:
        # What a worker with another Python sees is another set of packages: that is said already.
        findings += _package(name, driver, working)
    if names and not findings:
        where = "the driver" if working == [driver] else "every executor"
        findings.append(ok("packages", f"{where} has the {len(names)} packages that workers import."))
    return findings


def _package(name: str, driver: Machine, working: Sequence[Machine]) -> list[Finding]:
    missing = [each.place for each in working if each.packages.get(name) is None]
    if missing and name not in _OPTIONAL:
        remedy = "Install there what setup.py lists, or ship it with the job."
        return [fault("packages", f"{name} is missing on {listed(missing)}.", remedy)]
    places = [driver, *working] if driver not in working else list(working)
    # A package may be without a version, as in a zip file.
    found = grouped((each.place, str(each.packages[name])) for each in places if each.packages.get(name))
    if len(found) < 2:
        return []
    cause = f"{name} is not the same everywhere: {told_groups(found)}."
    remedy = "Install one version everywhere."
    if name in _SAME:
        return [fault("packages", cause, remedy)]
    return [warning("packages", cause, f"{remedy} Vectors and chunks may depend on it.")]
