"""Properties of the session: those that conf/ recommends and it lacks, and those that the platform refuses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from spark_jobs.diagnosis.classic import is_classic, own_properties
from spark_jobs.diagnosis.findings import Finding, listed, ok, warning
from spark_jobs.runtime.properties import read_property
from spark_jobs.settings.sections import SparkSettings
from spark_jobs.store.properties import SESSION, TRANSACTION

_GPUS = "spark.executor.resource.gpu.amount"


class Advised(NamedTuple):
    """A property that conf/ recommends.

    Attributes:
        value: What it should be.
        default: What Spark takes if it is not set.
        why: What happens otherwise.
        only: `local` or `gpu` if it is advised only there.
    """

    value: str
    default: str
    why: str
    only: str = ""


# A test compares the values with the files. Properties about Delta are not here: a session without Delta is a fault.
ADVISED = {
    "spark.python.worker.reuse": Advised("true", "true", "each task would load the model again"),
    "spark.speculation": Advised("false", "false", "a second copy of a task repeats its inference"),
    "spark.scheduler.mode": Advised("FAIR", "FIFO", "commits wait for the inference of the next slice"),
    "spark.sql.execution.arrow.maxRecordsPerBatch": Advised(
        "4096", "10000", "a batch of long documents can take gigabytes"
    ),
    "spark.sql.session.timeZone": Advised("UTC", "", "timestamps mean another time on each machine"),
    "spark.databricks.delta.snapshotPartitions": Advised(
        "2", "50", "each commit reads the log in 50 tasks, which costs seconds", "local"
    ),
    "spark.sql.shuffle.partitions": Advised("8", "200", "most of the 200 tasks of a shuffle are empty", "local"),
    "spark.ui.enabled": Advised("false", "true", "the UI is open to everyone on the network", "local"),
    "spark.python.factory.idleWorkerMaxPoolSize": Advised(
        "1", "", "workers take turns, and each loads the model again", "gpu"
    ),
    "spark.python.worker.faulthandler.enabled": Advised(
        "true", "false", "nothing shows where a worker dies in native code", "gpu"
    ),
}
# As large as conf/spark-gpu.conf has them, or smaller.
_AT_MOST = {"spark.sql.execution.arrow.maxRecordsPerBatch": 8192, "spark.sql.shuffle.partitions": 8}
# A job sets these for the time of its commits: each commit then has a number, and a late one is refused.
_FENCE = TRANSACTION[:2]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionProperties:
    """Properties of a live session.

    Attributes:
        values: Those that can be read.
        refused: Names of those that a job sets and the platform refuses.
        ignored: Names of those of the settings that the session does not have, because it was started elsewhere.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def find_properties(spark: SparkSession, settings: SparkSettings) -> SessionProperties:
    """Reads the properties of a session, and tries those that jobs set.

    Args:
        spark: A live session.
        settings: Its properties in the settings.

    Returns:
        What was found; the session is left as it was.
    """
    values = own_properties(spark) if is_classic(spark) else dict(settings.properties)
    wanted = {*ADVISED, _GPUS, "spark.task.cpus", "spark.master", "spark.local.dir", "spark.executor.memory"}
    for name in wanted | set(settings.properties):
        found = read_property(spark, name)
        if found is not None:
            values[name] = str(found)
    tried = {**SESSION, TRANSACTION[0]: "embedlake-doctor", TRANSACTION[1]: "1"}
    ignored = [name for name, value in settings.properties.items() if values.get(name) != value]
    return SessionProperties(
        values=values,
        refused=tuple(name for name, value in tried.items() if not _may_set(spark, name, value)),
        # Delta is added to these.
        ignored=tuple(name for name in ignored if name not in ("spark.jars.packages", "spark.sql.extensions")),
    )


def _may_set(spark: SparkSession, name: str, value: str) -> bool:
    earlier = read_property(spark, name)
    try:
        spark.conf.set(name, value)
        if earlier is None:
            spark.conf.unset(name)
        else:
            spark.conf.set(name, earlier)
    except PySparkException:
        return False
    return True


def judge_properties(found: SessionProperties) -> list[Finding]:
    """Judges the properties of a session.

    Args:
        found: The properties.

    Returns:
        The findings.
    """
    findings = list(_lacking(found.values))
    refused = [name for name in found.refused if name not in _FENCE]
    if set(found.refused) & set(_FENCE):
        cause = f"the platform does not let a job set {listed([name for name in found.refused if name in _FENCE])}."
        remedy = "Commits carry no numbers then: start no second run of a space, and never use --take-over."
        findings.append(warning("properties", cause, remedy))
    if refused:
        remedy = "It keeps its own values; check that they suit (see spark_jobs/store/properties.py)."
        findings.append(warning("properties", f"the platform does not let a job set {listed(refused)}.", remedy))
    if found.ignored:
        cause = f"the session has other values for {listed(found.ignored)} than spark.properties in the settings."
        findings.append(warning("properties", cause, "It was started elsewhere: set them where it is started."))
    return findings or [ok("properties", "they are as conf/ has them, and a job may set what it needs.")]


def _lacking(values: Mapping[str, str]) -> Iterable[Finding]:
    is_local, has_gpus = values.get("spark.master", "").startswith("local"), values.get(_GPUS, "0") not in ("", "0")
    for name, advised in ADVISED.items():
        wanted = not advised.only or (advised.only == "local" and is_local) or (advised.only == "gpu" and has_gpus)
        value = values.get(name, advised.default)
        if wanted and not _suits(name, value, advised.value):
            shown = f"is {value}" if value else "is not set"
            file = "gpu" if advised.only == "gpu" else "local" if is_local else "cluster"
            remedy = f"Set it to {advised.value} where the session is started, as conf/spark-{file}.conf does."
            yield warning("properties", f"{name} {shown}: {advised.why}.", remedy)


def _suits(name: str, value: str, advised: str) -> bool:
    if name in _AT_MOST and value.isdigit():
        return int(value) <= _AT_MOST[name]
    return value.lower() == advised.lower() or (name.endswith("timeZone") and value in ("Etc/UTC", "GMT", "Z"))
