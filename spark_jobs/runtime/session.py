"""The Spark session: the live one, or else a local one with Delta."""

import locale
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from weakref import WeakSet

import pyspark
from pyspark import SparkConf
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.runtime.cluster import check_master, is_local, start_fault
from spark_jobs.runtime.object_stores import S3_PROPERTIES
from spark_jobs.runtime.spark_errors import cause_of, is_connection_lost
from spark_jobs.settings.sections import SparkSettings

# Java shares the cores with the model. At its default thresholds the second compiler takes a third of the processor
# time of a first load, for code that finishes before this pays off. The default garbage collector runs alongside the
# program; this one only pauses it.
_JAVA = (
    "-XX:+UseParallelGC -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
_GRACE_SECONDS = 5
_MEMORY = "spark.driver.memory"
_GIGABYTE = 2**30
# Java's addresses take twice the room above 32 GB.
_MOST_MEMORY = 30 * _GIGABYTE
# Limits of containers, in versions 2 and 1 of Linux's control groups.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Names of locales in UTF-8 that need no language installed.
_UTF_8_LOCALES = ("C.UTF-8", "C.utf8", "UTF-8")
_PACKAGES, _EXTENSIONS = "spark.jars.packages", "spark.sql.extensions"
_CATALOG, _DELTA_CATALOG = "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
_DELTA_PACKAGE, _DELTA_EXTENSION = "io.delta:delta-spark", "io.delta.sql.DeltaSparkSessionExtension"
_LOG_LEVEL, _MASTER, _REMOTE = "spark.log.level", "spark.master", "spark.remote"
_PYTHON, _FILES = "spark.pyspark.python", "spark.submit.pyFiles"
# Set on Databricks, on clusters and on serverless compute.
_PLATFORM = "DATABRICKS_RUNTIME_VERSION"
# Variables of processes that use a session of spark-submit or of a Connect server.
_STARTED_ELSEWHERE = {"PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", _PLATFORM}
# Those that a client of Spark Connect may set too.
_EVERY_CLIENT = {
    # Arrow batches of long documents: 10,000 rows could be gigabytes.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "4096",
    # So that timestamps in the store mean the same everywhere.
    "spark.sql.session.timeZone": "UTC",
}
# Of every session that is started here, whatever its master.
_EVERYWHERE = {
    _CATALOG: _DELTA_CATALOG,
    # So that the commits of a slice need not wait until all of the next one is embedded.
    "spark.scheduler.mode": "FAIR",
    "spark.ui.showConsoleProgress": "false",
    # Spark keeps plans and tasks of finished statements for the UI even where it is off: 1,000 statements by default,
    # which a follower would hold in Java for good.
    "spark.sql.ui.retainedExecutions": "50",
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    **_EVERY_CLIENT,
    _LOG_LEVEL: "ERROR",
}
# Only where the driver does all the work: executors of a cluster have to reach the driver, do not share its cores, and
# are many.
_LOCAL = {
    # Java refuses to start with two garbage collectors, so options of the user's own replace these.
    "spark.driver.extraJavaOptions": _JAVA,
    # Delta reads a table's log with 50 tasks by default, which on one machine costs seconds for every commit.
    "spark.databricks.delta.snapshotPartitions": "2",
    # 200 by default, most of them empty on one machine.
    "spark.sql.shuffle.partitions": "8",
    # The UI would be open to everyone on the network, for a job that ends on its own. On a cluster it is how people see
    # what executors do, and the cluster's own rules say who may.
    "spark.ui.enabled": "false",
    # Nothing outside this machine needs to reach the driver.
    "spark.driver.host": "localhost",
    "spark.driver.bindAddress": "127.0.0.1",
}

# A statement of Delta's own about a table that does not exist. A session that knows Delta says that there is none.
_PROBE = "DESCRIBE DETAIL delta.`file:/embedlake/no/such/table`"
# What a session says that lacks Delta's extension, its catalog, or the package that both are in.
_WITHOUT_DELTA = re.compile(
    r"\[DELTA_CONFIGURE_SPARK_SESSION_WITH_EXTENSION_AND_CATALOG\]|\[TABLE_OR_VIEW_NOT_FOUND\][^\n]*`DETAIL`"
    r"|\[PARSE_SYNTAX_ERROR\]|Cannot find catalog plugin class"
)
_with_delta: WeakSet[SparkSession] = WeakSet()


def get_session(settings: SparkSettings, quiet: bool = False) -> SparkSession:
    """Finds the live session or starts one: a local one, or one of the cluster or Connect server that is named.

    Args:
        settings: Master and properties of a session that is started here; a live one stays as it is. The variable
            SPARK_REMOTE or the property `spark.remote` names a Connect server.
        quiet: Whether to keep Spark's own messages, which quote values of rows, off the terminal. A session of
            spark-submit keeps the `spark.log.level` that it was started with, and one without is silent.

    Returns:
        The session.

    Raises:
        InputError: A session has to be started, and Java, Delta, the master or the server is missing.
    """
    live = SparkSession.getActiveSession()
    if live is not None:
        return live
    if _PLATFORM in os.environ:
        # It has a session for the asking, whose properties are its own.
        return SparkSession.builder.getOrCreate()
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return _with_log_level(_submitted(), settings, quiet)
    remote = settings.properties.get(_REMOTE, os.environ.get("SPARK_REMOTE", ""))
    if remote.startswith("sc://"):
        return _connected(remote, settings.properties)
    master = master_of(settings)
    check_master(master)
    _use_this_python(settings.properties)
    find_java()
    try:
        from delta import configure_spark_with_delta_pip
    except ImportError as error:
        raise InputError("Delta is not installed. Run: pip install 'embedlake[spark]'") from error
    builder = configure_spark_with_delta_pip(
        SparkSession.builder.master(master).appName("embedlake"), _listed(settings.properties, _PACKAGES)
    )
    with _kept_messages(master) if quiet else nullcontext(), _names_in_utf_8():
        return _configured(builder, _properties(master, settings.properties))


def master_of(settings: SparkSettings) -> str:
    """Returns the master of a session that is started here; its property wins over the setting."""
    return settings.properties.get(_MASTER, settings.master)


def starts_here(settings: SparkSettings) -> bool:
    """Whether `get_session` would start a session whose workers are on this machine."""
    if SparkSession.getActiveSession() is not None or not _STARTED_ELSEWHERE.isdisjoint(os.environ):
        return False
    return _REMOTE not in settings.properties and is_local(master_of(settings))


def submitted_master() -> str:
    """Returns the master that spark-submit was called with."""
    # The client of Spark Connect has none.
    from pyspark import SparkContext

    # Until Python is connected to Java, it knows none of the properties.
    SparkContext._ensure_initialized()
    return str(SparkConf().get(_MASTER, ""))


def _submitted() -> SparkSession:
    """Starts the session of spark-submit, whose properties are the user's own choice."""
    master = submitted_master()
    if master.startswith("local"):
        _use_this_python({})
    check_master(master)
    try:
        return SparkSession.builder.getOrCreate()
    except Exception as error:  # raised by PySpark and Py4J
        fault = start_fault(str(error), master)
        if fault is None:
            raise
        raise InputError(f"Spark did not start: {fault}") from error


def _connected(remote: str, own: dict[str, str]) -> SparkSession:
    """Connects to a server, whose properties are those that it was started with; a session may set Spark SQL's."""
    check_master(remote)
    mine = {key: value for key, value in own.items() if key not in (_REMOTE, _MASTER, _FILES)}
    builder = SparkSession.builder.remote(remote)
    try:
        spark = _configured(builder, {**_EVERY_CLIENT, **mine})
    except Exception as error:  # raised by PySpark and gRPC
        cause = cause_of(error).rstrip(".")
        raise InputError(
            f"no session could be opened at the Connect server: {cause}. Is it a server of the client's version of "
            "Spark, and pip install 'pyspark[connect]' done here?"
        ) from error
    if sent := _listed(own, _FILES):
        try:
            # As spark-submit does for a driver of its own.
            spark.addArtifacts(*sent, pyfile=True)
        except Exception as error:  # raised by the operating system, PySpark and gRPC
            cause = cause_of(error).rstrip(".")
            raise InputError(f"{_FILES} cannot be sent: {cause}. Name files that are on this machine.") from error
    return spark


def _with_log_level(spark: SparkSession, settings: SparkSettings, quiet: bool) -> SparkSession:
    # Spark logs a failed task with the values that made it fail. Over Connect, the log is the server's own.
    if hasattr(spark, "_jsparkSession"):
        context = spark.sparkContext
        level = settings.properties.get(_LOG_LEVEL) if not quiet else "OFF"
        if level is not None and not (quiet and context.getConf().contains(_LOG_LEVEL)):
            context.setLogLevel(level)
    return spark


def _properties(master: str, own: dict[str, str]) -> dict[str, str]:
    # The user's value wins, except in lists that Delta has to be in: there it is added.
    here = _LOCAL if is_local(master) else {}
    properties = {_MEMORY: f"{driver_megabytes()}m", **_EVERYWHERE, **S3_PROPERTIES, **here, **own}
    properties[_EXTENSIONS] = ",".join(dict.fromkeys([_DELTA_EXTENSION, *_listed(own, _EXTENSIONS)]))
    if not any(package.startswith(_DELTA_PACKAGE) for package in _listed(own, _PACKAGES)):
        # The builder was given these, next to Delta. A user who names a version of Delta gets only that one.
        properties.pop(_PACKAGES, None)
    return properties


def driver_megabytes() -> int:
    """Chooses the memory of Java: a quarter of the machine's or the container's, because the model needs the rest.

    Spark's own default of 1 GB does not hold a few large documents.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _LIMITS:
        # Without a limit, it is the word `max`.
        if file.exists() and (limit := file.read_text().strip()).isdigit():
            limits.append(int(limit))
    return max(_GIGABYTE, min(min(limits) // 4, _MOST_MEMORY)) // 2**20


@contextmanager
def _names_in_utf_8() -> Iterator[None]:
    # Java decodes names of files as the locale says that it is started with, and passes over files whose names it
    # cannot decode.
    chosen = next((name for name in _UTF_8_LOCALES if _has_locale(name)), None)
    before = os.environ.get("LC_ALL")
    if chosen is not None:
        os.environ["LC_ALL"] = chosen
    try:
        yield
    finally:
        if before is not None:
            os.environ["LC_ALL"] = before
        elif chosen is not None:
            del os.environ["LC_ALL"]


def _has_locale(name: str) -> bool:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True


def ends_java(error: BaseException) -> bool:
    """Whether an error comes of the death of the Java process that this process started."""
    # The client of Spark Connect has no contexts.
    gateway = getattr(getattr(pyspark, "SparkContext", None), "_gateway", None)
    process = getattr(gateway, "proc", None)
    if process is None or not is_connection_lost(error):
        return False
    try:
        # Its connections break some time before it has ended.
        process.wait(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _listed(properties: dict[str, str], name: str) -> list[str]:
    return [entry.strip() for entry in properties.get(name, "").split(",") if entry.strip()]


def require_delta(spark: SparkSession) -> None:
    """Refuses a session that was started without Delta; each session is asked once.

    Properties do not tell: a platform may bring Delta without them, and they may be set where the package is missing.

    Args:
        spark: A live session.

    Raises:
        InputError: The session cannot use Delta tables.
    """
    if spark in _with_delta:
        return
    try:
        spark.sql(_PROBE).collect()
    except Exception as error:  # Py4J raises it if a class is missing, PySpark if the statement is unknown
        if _WITHOUT_DELTA.search(str(error)):
            raise InputError(
                "the Spark session cannot use Delta tables, because it was started without Delta's package, extension "
                f"or catalog. Start it with the package {_DELTA_PACKAGE} in {_PACKAGES}, beside those of your own, "
                f"{_EXTENSIONS}={_DELTA_EXTENSION} and {_CATALOG}={_DELTA_CATALOG}."
            ) from error
    _with_delta.add(spark)


def find_java() -> None:
    """Makes sure that Spark will find Java: JAVA_HOME, the runtime that setup put next to Python, or the PATH."""
    own = Path(sys.prefix) / "java"
    if not os.environ.get("JAVA_HOME") and (own / "bin" / "java").exists():
        os.environ["JAVA_HOME"] = str(own)
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").exists():
        raise InputError(f"JAVA_HOME is {home}, but {home}/bin/java does not exist. Correct or unset it.")
    if not home and shutil.which("java") is None:
        raise InputError(
            "Spark needs Java 17 or newer, and none was found. Install it, or set JAVA_HOME to its folder."
        )


def _use_this_python(own: dict[str, str]) -> None:
    # PySpark from pip starts workers with whatever `python3` is on the PATH, which may not see our packages. It reads
    # the property only where spark-submit starts the driver.
    os.environ.setdefault("PYSPARK_PYTHON", own.get(_PYTHON, sys.executable))


@contextmanager
def _kept_messages(master: str) -> Iterator[None]:
    # Java inherits both streams permanently. Its output goes to a file, which is kept only if the start fails.
    handle, log = tempfile.mkstemp(prefix="embedlake-spark-", suffix=".log")
    terminal = {stream: os.dup(stream) for stream in (1, 2)}
    for stream in terminal:
        os.dup2(handle, stream)
    try:
        yield
    except Exception as error:  # raised by PySpark, Py4J or the operating system
        # What went wrong on the way is in the messages alone.
        told = start_fault(f"{error}\n{Path(log).read_text(encoding='utf-8', errors='replace')}", master)
        cause = told or f"{cause_of(error).rstrip('.')}."
        raise InputError(f"Spark did not start: {cause} Its own messages are in {log}.") from error
    finally:
        for stream, descriptor in terminal.items():
            os.dup2(descriptor, stream)
            os.close(descriptor)
        os.close(handle)
    os.unlink(log)


def _configured(builder: SparkSession.Builder, properties: dict[str, str]) -> SparkSession:
    for key, value in properties.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
