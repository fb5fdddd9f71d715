"""Whether the store can be written, and refuses the second of two writers of one commit; and what its clock says.

All of it happens in a folder of its own under `_embedlake`, which is removed again. Nothing of a library is read.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from spark_jobs.diagnosis.classic import is_classic, java_of, java_session
from spark_jobs.diagnosis.findings import Finding, fault, ok, warning
from spark_jobs.diagnosis.limits import TooLongError, within
from spark_jobs.diagnosis.machines import Machine, seconds_ahead
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import StoreSettings, split_path

_ROUNDS = 5
# Refuses a second writer only if both are threads of one driver.
_ONE_DRIVER = "S3SingleDriverLogStore"
_NAME = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What was found out about the store.

    Attributes:
        location: Its path, or catalog and schema.
        tried: Whether anything was written.
        why_not: Why nothing was written; empty if it was.
        cause: Why writing failed; empty if it did not.
        folder: The folder on this machine that was made; None on another file system.
        log_store: Class by which Delta writes its log there; empty if unknown.
        winners: For each round, how many of two writers of the same commit were told that they succeeded.
        kept: In how many rounds the commit was that of the writer who was told so.
        seconds_ahead: As `Machine` has it, by the time that the store gave a new file.
    """

    location: str
    tried: bool = False
    why_not: str = ""
    cause: str = ""
    folder: str | None = None
    log_store: str = ""
    winners: tuple[int, ...] = ()
    kept: int = 0
    seconds_ahead: float = 0.0


def untried_store(store: StoreSettings, why: str) -> StoreFacts:
    """Looks at a store that cannot be reached through Spark: a folder can be looked at without it."""
    location = store.path or f"{store.catalog}.{store.schema_}"
    facts = StoreFacts(location=location, why_not=why)
    existing = store.folder
    while existing is not None and not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if existing is not None and not (existing.is_dir() and os.access(existing, os.W_OK)):
        return replace(facts, tried=True, cause=f"{existing} cannot be written to")
    return facts


@contextmanager
def try_store(spark: SparkSession, settings: Settings, limit: float) -> Iterator[StoreFacts]:
    """Makes a folder in the store, races two writers there, and removes it at the end of the block.

    Args:
        spark: A live session.
        settings: Names the store.
        limit: Seconds that each step may take.

    Yields:
        What was found out.
    """
    store = settings.store
    if store.path is None:
        yield _catalog(spark, store)
        return
    if not is_classic(spark):
        yield untried_store(store, "Spark Connect does not reach its file system")
        return
    place = _Place(spark, store.path)
    try:
        yield _raced(spark, place, store, limit)
    finally:
        with suppress(Exception):  # what cannot be written has nothing to remove
            within(limit, place.remove)


class _Place:
    """A folder of its own in the store, through Hadoop, which knows every file system that Spark knows."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.jvm = java_of(spark)
        self.hadoop = java_session(spark).sessionState().newHadoopConf()
        self.name = f"{root.rstrip('/')}/_embedlake/doctor-{uuid.uuid4().hex}"
        self._made: list[Any] = []

    def path(self, name: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(name)

    def make(self) -> None:
        files = self.path(self.name).getFileSystem(self.hadoop)
        above = self.path(self.name).getParent()
        while above is not None and not files.exists(above):
            self._made.append(above)
            above = above.getParent()
        files.mkdirs(self.path(f"{self.name}/_delta_log"))

    def modified(self, name: str) -> float:
        files = self.path(self.name).getFileSystem(self.hadoop)
        return float(files.getFileStatus(self.path(name)).getModificationTime()) / 1000

    def content(self, name: str) -> str:
        files = self.path(self.name).getFileSystem(self.hadoop)
        stream = files.open(self.path(name))
        try:
            return str(self.jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def remove(self) -> None:
        files = self.path(self.name).getFileSystem(self.hadoop)
        files.delete(self.path(self.name), True)
        for folder in self._made:
            # Not recursive: what another process has put there meanwhile stays.
            files.delete(folder, False)


def _raced(spark: SparkSession, place: _Place, store: StoreSettings, limit: float) -> StoreFacts:
    facts = StoreFacts(location=str(store.path), tried=True)
    try:
        within(limit, place.make)
        if store.folder is not None:
            facts = replace(facts, folder=str(Path(split_path(place.name)[2])))
        return within(limit, lambda: _race(spark, place, facts))
    except TooLongError:
        return replace(facts, cause=f"it did not answer within {limit:g} s")
    except Exception as error:  # raised by Java or Py4J
        return replace(facts, cause=cause_of(error).rstrip("."))


def _race(spark: SparkSession, place: _Place, facts: StoreFacts) -> StoreFacts:
    log = place.jvm.org.apache.spark.sql.delta.DeltaLog.forTable(java_session(spark), place.name)
    store, winners, kept, ahead = log.store(), [], 0, 0.0
    for number in range(_ROUNDS):
        name = f"{place.name}/_delta_log/{number:020}.json"
        before = time.time()
        won = _two_writers(lambda text, name=name: _write(place, store, name, text))  # type: ignore[misc]
        if number == 0:
            made = place.modified(name)
            # Some file systems keep whole seconds.
            ahead = seconds_ahead(made + 1, made, before, time.time())
        winners.append(len(won))
        kept += won == [place.content(name).strip()]
    return replace(facts, log_store=_log_store(place, store), winners=tuple(winners), kept=kept, seconds_ahead=ahead)


def _write(place: _Place, store: Any, name: str, text: str) -> None:
    lines = place.jvm.java.util.ArrayList()
    lines.add(text)
    actions = place.jvm.scala.jdk.javaapi.CollectionConverters.asScala(lines.iterator())
    store.write(place.path(name), actions, False, place.hadoop)


def _two_writers(write: Callable[[str], None]) -> list[str]:
    """Has two threads write at the same time; returns the texts of those that were not refused."""
    start, won = threading.Barrier(2), []
    errors: list[Exception] = []

    def attempt(text: str) -> None:
        start.wait()
        try:
            write(text)
        except Exception as error:  # raised by Py4J with Java's error inside
            if "FileAlreadyExistsException" not in str(error):
                errors.append(error)
        else:
            won.append(text)

    threads = [threading.Thread(target=attempt, args=(f'{{"writer": {number}}}',), daemon=True) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return won


def _log_store(place: _Place, store: Any) -> str:
    # Delta's own names, which may change; the race does not depend on them.
    with suppress(Exception):
        delegate = store.getDelegate(place.path(place.name))
        with suppress(Exception):
            delegate = delegate.logStoreImpl()
        return str(delegate.getClass().getName()).rpartition(".")[2]
    return ""


def _catalog(spark: SparkSession, store: StoreSettings) -> StoreFacts:
    location = f"{store.catalog}.{store.schema_}"
    facts = StoreFacts(location=location, why_not="a table in a catalog would be seen by others")
    try:
        exists = spark.catalog.databaseExists(location)
    except Exception as error:  # raised by PySpark or Connect
        return replace(facts, tried=True, cause=cause_of(error).rstrip("."))
    return facts if exists else replace(facts, tried=True, cause="there is no such schema")


def judge_store(facts: StoreFacts, machines: list[Machine]) -> list[Finding]:
    """Judges the store.

    Args:
        facts: What was found out.
        machines: The executors, each with whether it sees the folder of the store.

    Returns:
        The findings.
    """
    at = f"the store at {facts.location}"
    if facts.cause:
        return [fault(_NAME, f"{at} cannot be used: {facts.cause}.", "Give the job a place that it may write to.")]
    if not facts.tried:
        return [ok(_NAME, f"{at} was not tried, because {facts.why_not}. What it refuses shows when a run begins.")]
    findings = [ok(_NAME, f"{at} can be written.")]
    blind = [each.place for each in machines if each.sees_store is False]
    if blind:
        findings = [
            fault(
                _NAME,
                f"{at} is a folder, and {' and '.join(blind)} cannot write to the same one.",
                "Choose a folder that is mounted on every machine, or an object store.",
            )
        ]
    return [*findings, _commits(facts)]


def _commits(facts: StoreFacts) -> Finding:
    of = f"of {len(facts.winners)} commits that two writers tried at once"
    by = f" (Delta writes its log by {facts.log_store})" if facts.log_store else ""
    kept = min(facts.kept, sum(winners == 1 for winners in facts.winners))
    if kept < len(facts.winners):
        return fault(
            "commits",
            f"{of}, {len(facts.winners) - kept} were not refused to exactly one of them{by}.",
            "Runs would overwrite each other's commits. Set spark.delta.logStore.<scheme>.impl to a class that fits "
            "the store, or choose another store.",
        )
    if facts.log_store == _ONE_DRIVER:
        return warning(
            "commits",
            f"{of}, each was refused to one, but {facts.log_store} knows of the writers of one driver alone.",
            "Start one job on this store at a time, or set spark.delta.logStore.s3a.impl to a class that excludes "
            "other drivers, such as io.delta.storage.S3DynamoDBLogStore.",
        )
    if facts.folder is not None:
        alone = "; other processes of this machine are kept out by embedlake's locks, those of other machines are not"
        return ok("commits", f"{of}, each was refused to one{by}{alone}.")
    return ok("commits", f"{of}, each was refused to one{by}.")
