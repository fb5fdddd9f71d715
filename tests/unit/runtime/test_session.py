"""A local session has Delta and the user's own properties, and a live one without Delta is refused."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from py4j.protocol import Py4JNetworkError
from pyspark import SparkContext
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import InputError
from spark_jobs import (
    drop_space,
    embed_library,
    export_library,
    follow_library,
    list_quarantine,
    list_spaces,
    maintain_space,
    plan_library,
    promote_space,
    rollback_space,
    search_library,
    show_status,
    verify_space,
)
from spark_jobs.runtime import session
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.settings import as_settings
from spark_jobs.settings.sections import SparkSettings
from spark_jobs.store import read_vectors

DELTA = "io.delta.sql.DeltaSparkSessionExtension"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks for a session and returns the properties that it would have been started with."""
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda builder: dict(builder._options))
    monkeypatch.setattr(session, "find_java", lambda: None)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.setattr(session, "check_master", lambda _: None)
    return lambda properties, master="local[*]": session.get_session(
        SparkSettings(master=master, properties=properties)
    )


def test_packages_and_extensions_of_the_user_are_added_to_those_of_delta(started: Any) -> None:
    own = {
        "spark.jars.packages": "org.apache.hadoop:hadoop-aws:3.4.2, org.example:other:1",
        "spark.sql.extensions": "org.example.Extensions",
    }
    delta, *others = started(own)["spark.jars.packages"].split(",")
    assert delta.startswith("io.delta:delta-spark")
    assert others == ["org.apache.hadoop:hadoop-aws:3.4.2", "org.example:other:1"]
    assert started(own)["spark.sql.extensions"] == f"{DELTA},org.example.Extensions"


def test_without_own_packages_and_extensions_there_are_those_of_delta(started: Any) -> None:
    properties = started({})
    assert properties["spark.jars.packages"].startswith("io.delta:delta-spark")
    assert "," not in properties["spark.jars.packages"]
    assert properties["spark.sql.extensions"] == DELTA


def test_delta_is_never_named_twice(started: Any) -> None:
    own = {
        "spark.jars.packages": "org.example:other:1,io.delta:delta-spark_2.13:4.0.0",
        "spark.sql.extensions": f"org.example.Extensions,{DELTA}",
    }
    properties = started(own)
    assert properties["spark.jars.packages"] == own["spark.jars.packages"]
    assert properties["spark.sql.extensions"] == f"{DELTA},org.example.Extensions"


def test_other_properties_of_the_user_replace_ours(started: Any) -> None:
    own = {"spark.driver.extraJavaOptions": "-XX:+UseG1GC", "spark.sql.shuffle.partitions": "3"}
    assert started(own).items() >= own.items()


# What holds on one machine alone.
HERE = {
    "spark.driver.host": "localhost",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.enabled": "false",
}


@pytest.mark.parametrize("master", ["local", "local[2]", "local[*]"])
def test_a_local_session_has_the_properties_of_one_machine(started: Any, master: str) -> None:
    assert started({}, master).items() >= HERE.items()


@pytest.mark.parametrize("master", ["spark://head:7077", "yarn", "k8s://https://head:443", "local-cluster[2,1,1024]"])
@pytest.mark.parametrize("is_property", [False, True])
def test_executors_elsewhere_can_reach_the_driver_and_nothing_of_one_machine_holds(
    started: Any, master: str, is_property: bool
) -> None:
    properties = started({"spark.master": master}) if is_property else started({}, master)
    assert properties["spark.master"] == master
    assert HERE.keys().isdisjoint(properties) and "spark.driver.extraJavaOptions" not in properties
    assert properties["spark.sql.extensions"] == DELTA
    assert properties["spark.scheduler.mode"] == "FAIR"
    assert properties["spark.sql.session.timeZone"] == "UTC"


def test_workers_are_started_with_the_python_that_the_settings_name(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own, expected in (({}, sys.executable), ({"spark.pyspark.python": "./env/bin/python"}, "./env/bin/python")):
        monkeypatch.setenv("PYSPARK_PYTHON", "to be restored")
        monkeypatch.delenv("PYSPARK_PYTHON")
        started(own, "spark://head:7077")
        assert os.environ["PYSPARK_PYTHON"] == expected
    monkeypatch.setenv("PYSPARK_PYTHON", "python3.11")
    started({}, "spark://head:7077")
    assert os.environ["PYSPARK_PYTHON"] == "python3.11"


@pytest.mark.parametrize("is_property", [False, True])
def test_a_server_of_connect_is_asked_for_a_session_and_needs_no_java(
    monkeypatch: pytest.MonkeyPatch, is_property: bool
) -> None:
    asked: list[dict[str, str]] = []
    remote, own = "sc://head:15002", {"spark.sql.shuffle.partitions": "3"}
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda builder: asked.append(dict(builder._options)))
    monkeypatch.setattr(session, "find_java", lambda: pytest.fail("Java is the server's"))
    monkeypatch.setattr(session, "check_master", asked.append)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    if is_property:
        own = {**own, "spark.remote": remote}
    else:
        monkeypatch.setenv("SPARK_REMOTE", remote)
    assert session.get_session(SparkSettings(properties=own)) is None
    checked, options = asked
    assert checked == remote and "spark.master" not in options
    expected = {"spark.sql.session.timeZone": "UTC", "spark.sql.execution.arrow.maxRecordsPerBatch": "4096", **own}
    assert {"spark.remote": remote, **options} == {"spark.remote": remote, **expected}


def test_packages_are_sent_to_workers_over_connect_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent: list[tuple[str, ...]] = []

    def send(*files: str, pyfile: bool) -> None:
        assert pyfile
        sent.append(tuple(Path(file).read_text() for file in files))

    options: list[dict[str, str]] = []

    def start(builder: Any) -> Any:
        options.append(dict(builder._options))
        return SimpleNamespace(addArtifacts=send)

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", start)
    monkeypatch.setattr(session, "check_master", lambda _: None)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setenv("SPARK_REMOTE", "sc://head:15002")
    for name in ("one.zip", "two.zip"):
        tmp_path.joinpath(name).write_text(name)
    files = {"spark.submit.pyFiles": f"{tmp_path}/one.zip, {tmp_path}/two.zip"}
    session.get_session(SparkSettings(properties=files))
    assert sent == [("one.zip", "two.zip")]
    # A server that is up has its own.
    assert "spark.submit.pyFiles" not in options[0]
    tmp_path.joinpath("two.zip").unlink()
    with pytest.raises(InputError, match=r"^spark.submit.pyFiles cannot be sent: No such file or directory: .*two.zip"):
        session.get_session(SparkSettings(properties=files))


def test_a_server_that_opens_no_session_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", fail)
    monkeypatch.setattr(session, "check_master", lambda _: None)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setenv("SPARK_REMOTE", "sc://head:15002")
    with pytest.raises(InputError, match=r"^no session could be opened at the Connect server: RuntimeError\. "):
        session.get_session(SparkSettings())


STOPPED = "java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext."


@pytest.mark.parametrize(
    ("error", "written", "cause"),
    [
        (STOPPED, "", "the cluster gave the job up, because its executors ended as soon as they started. The logs of"),
        (
            STOPPED,
            "26/01/01 ERROR StandaloneSchedulerBackend: Application has been killed. Reason: All masters are "
            "unresponsive! Giving up.",
            "what listens at the master's address does not answer",
        ),
        ("java.lang.NoClassDefFoundError: x", "", "RuntimeError."),
    ],
)
def test_a_start_that_fails_says_what_failed_on_the_cluster(
    started: Any, monkeypatch: pytest.MonkeyPatch, error: str, written: str, cause: str
) -> None:
    def fail(_: Any) -> None:
        os.write(2, written.encode())
        raise RuntimeError(error)

    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", fail)
    settings = SparkSettings(master="spark://head:7077")
    with pytest.raises(InputError) as caught:
        session.get_session(settings, quiet=True)
    assert str(caught.value).startswith(f"Spark did not start: {cause}")
    (log,) = re.findall(r" Its own messages are in (\S+)\.$", str(caught.value))
    assert Path(log).read_text() == written
    Path(log).unlink()


@pytest.mark.parametrize(("master", "is_told"), [("spark://head:7077", True), ("local[2]", False)])
def test_a_start_by_spark_submit_that_fails_says_what_failed_on_the_cluster(
    started: Any, monkeypatch: pytest.MonkeyPatch, master: str, is_told: bool
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError(STOPPED)

    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", fail)
    monkeypatch.setattr(session, "submitted_master", lambda: master)
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    with pytest.raises(InputError if is_told else RuntimeError, match="the cluster gave" if is_told else "stopped"):
        session.get_session(SparkSettings())


@pytest.mark.parametrize("submitted", [False, True])
def test_a_master_that_is_down_is_refused_before_spark_tries_it(
    monkeypatch: pytest.MonkeyPatch, submitted: bool
) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda _: pytest.fail("Spark would try for a minute"))
    monkeypatch.setattr(session, "submitted_master", lambda: f"spark://127.0.0.1:{port}")
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    if submitted:
        monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    else:
        monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    message = f"^nothing answers at the master 127.0.0.1:{port}. Start the cluster, or correct spark.master.$"
    with pytest.raises(InputError, match=message):
        session.get_session(SparkSettings(master=f"spark://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("quiet", "submitted", "own", "level"),
    [
        (True, {}, {}, "OFF"),
        (True, {"spark.log.level": "WARN"}, {}, None),
        (False, {"spark.log.level": "OFF"}, {"spark.log.level": "INFO"}, "INFO"),
        (False, {}, {}, None),
    ],
)
def test_spark_submit_logs_nothing_unless_somebody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, quiet: bool, submitted: dict[str, str], own: dict[str, str], level: str | None
) -> None:
    levels: list[str] = []
    conf = SimpleNamespace(contains=submitted.__contains__)
    context = SimpleNamespace(getConf=lambda: conf, setLogLevel=levels.append)
    classic = SimpleNamespace(_jsparkSession=None, sparkContext=context)
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda _: classic)
    monkeypatch.setattr(session, "submitted_master", lambda: "yarn")
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    assert session.get_session(SparkSettings(properties=own), quiet) is classic
    assert levels == ([level] if level else [])


def test_on_databricks_the_platform_s_session_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda builder: builder._options)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.4.9")
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    assert session.get_session(SparkSettings(master="local[2]"), quiet=True) == {}


class LiveSession:
    """Answers every statement with the same error."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.statements: list[str] = []

    def sql(self, statement: str) -> Any:
        self.statements.append(statement)
        raise self.error


# As sessions without the package, without the extension, without the catalog, and without either answered.
@pytest.mark.parametrize(
    "answer",
    [
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `DETAIL` cannot be found. Verify the spelling\nSearch path: [",
        "[DELTA_CONFIGURE_SPARK_SESSION_WITH_EXTENSION_AND_CATALOG] This Delta operation requires the SparkSession",
        "An error occurred while calling o35.sql.\n: org.apache.spark.SparkException: Cannot find catalog plugin class "
        "for catalog 'spark_catalog': org.apache.spark.sql.delta.catalog.DeltaCatalog.",
        "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'DETAIL'.",
    ],
)
def test_a_session_without_delta_is_refused(answer: str) -> None:
    live: Any = LiveSession(RuntimeError(answer))
    for _ in range(2):
        with pytest.raises(InputError, match=r"^the Spark session cannot use Delta tables, because") as caught:
            session.require_delta(live)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "job",
    [
        embed_library.run,
        plan_library.run,
        lambda spark, settings: follow_library.run(spark, {"toy.main": settings}),
        maintain_space.run,
        verify_space.run,
        read_vectors,
        partial(show_status.run, console=Console()),
        partial(list_quarantine.run, console=Console()),
        list_spaces.run,
        partial(promote_space.run, space="next"),
        rollback_space.run,
        partial(drop_space.run, space="old"),
        partial(export_library.run, to="parquet:/out"),
        partial(search_library.answer, question="Owls?", options=SearchOptions()),
    ],
)
def test_every_job_with_tables_refuses_a_session_without_delta(job: Callable[..., Any]) -> None:
    source = {"format": "json", "path": "/docs", "id_column": "id", "text_columns": ["text"]}
    values: dict[str, Any] = {"library": "toy", "store": {"path": "/lake"}, "source": source}
    settings = as_settings({**values, "model": {"path": "fake:8"}})
    with pytest.raises(InputError, match=r"^the Spark session cannot use Delta tables, because"):
        job(LiveSession(RuntimeError("[PARSE_SYNTAX_ERROR] Syntax error at or near 'DETAIL'.")), settings)


@pytest.mark.parametrize(
    "answer",
    [
        "[DELTA_MISSING_DELTA_TABLE] `file:/embedlake` is not a Delta table.",
        "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have permission SELECT on any file.",
    ],
)
def test_a_session_that_knows_delta_or_does_not_tell_is_asked_once(answer: str) -> None:
    live: Any = LiveSession(RuntimeError(answer))
    session.require_delta(live)
    session.require_delta(live)
    assert len(live.statements) == 1


def test_java_may_use_a_quarter_of_the_memory_unless_the_user_says_otherwise(
    started: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(session, "_LIMITS", (limit, tmp_path / "none"))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 6 * 2**20, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert started({})["spark.driver.memory"] == "6144m"
    limit.write_text("max\n")
    assert session.driver_megabytes() == 6144
    limit.write_text(f"{8 * 2**30}\n")
    assert session.driver_megabytes() == 2048
    limit.write_text(f"{2 * 2**30}\n")
    assert session.driver_megabytes() == 1024
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2**28, "SC_PAGE_SIZE": 4096}.__getitem__)
    limit.unlink()
    assert session.driver_megabytes() == 30 * 1024
    assert started({"spark.driver.memory": "3g"})["spark.driver.memory"] == "3g"


@pytest.mark.parametrize("own", [None, "en_US.ISO-8859-1", "C"])
def test_java_is_started_with_names_in_utf_8_whatever_the_locale(
    started: Any, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    seen = []
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda _: seen.append(os.environ.get("LC_ALL")))
    if own is None:
        monkeypatch.delenv("LC_ALL", raising=False)
    else:
        monkeypatch.setenv("LC_ALL", own)
    started({})
    assert seen == ["C.UTF-8"]
    assert os.environ.get("LC_ALL") == own


def test_a_java_process_that_died_is_told_from_one_that_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_GRACE_SECONDS", 0.2)
    broken = ConnectionRefusedError(111, "Connection refused")
    with subprocess.Popen(["sleep", "60"]) as process:
        monkeypatch.setattr(SparkContext, "_gateway", SimpleNamespace(proc=process))
        assert not session.ends_java(broken)
        process.kill()
        assert session.ends_java(broken)
        assert session.ends_java(Py4JNetworkError("Answer from Java side is empty"))
        assert not session.ends_java(ValueError("broken"))
    # Of a process that somebody else started, nothing is known.
    monkeypatch.setattr(SparkContext, "_gateway", SimpleNamespace())
    assert not session.ends_java(broken)


@pytest.mark.parametrize(
    ("settings", "variable", "expected"),
    [
        ({}, None, True),
        ({"master": "local"}, None, True),
        ({"master": "local[2]"}, None, True),
        ({"master": "local-cluster[2,1,1024]"}, None, False),
        ({"master": "spark://head:7077"}, None, False),
        ({"properties": {"spark.master": "yarn"}}, None, False),
        ({"properties": {"spark.remote": "sc://head"}}, None, False),
        ({}, "PYSPARK_GATEWAY_PORT", False),
        ({}, "SPARK_REMOTE", False),
        ({}, "DATABRICKS_RUNTIME_VERSION", False),
    ],
)
def test_workers_are_here_only_in_a_local_session_of_our_own(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], variable: str | None, expected: bool
) -> None:
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    for name in ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    assert session.starts_here(SparkSettings(**settings)) is expected
    monkeypatch.setattr(SparkSession, "getActiveSession", object)
    assert not session.starts_here(SparkSettings(**settings))
