"""Whether the store can be written, and refuses the second of two writers of one commit; and what its clock says.

All of it happens in a folder of its own under `_embedlake`, which is removed again. Nothing of a library is read.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from pyspark.sql import SparkSession

from spark_jobs.diagnosis.classic import is_classic, java_of, java_session
from spark_jobs.diagnosis.findings import Finding, fault, ok, warning
from spark_jobs.diagnosis.limits import TooLongError, within
from spark_jobs.diagnosis.machines import Machine, seconds_ahead
from spark_jobs.runtime.spark_errors import cause_of, store_fault
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
        remedy: What to do about it; empty if that is not known.
        folder: The folder on this machine that was made; None on another file system.
        log_store: Class by which Delta writes its log there; empty if unknown.
        winners: For each round, how many of two writers of the same commit were told that they succeeded.
        kept: In how many rounds the commit was whole, and that of the only writer who was told so.
        locks: Whether a lock in the folder keeps out a second process; None on another file system.
        seconds_ahead: As `Machine` has it, by the time that the store gave a new file.
    """

    location: str
    tried: bool = False
    why_not: str = ""
    cause: str = ""
    remedy: str = ""
    folder: str | None = None
    log_store: str = ""
    winners: tuple[int, ...] = ()
    kept: int = 0
    locks: bool | None = None
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
        yield _catalog(spark, store, limit)
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

    def commit(self, number: int) -> str:
        return f"{self.name}/_delta_log/{number:020}.json"

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
            folder = Path(split_path(place.name)[2])
            facts = replace(facts, folder=str(folder), locks=within(limit, lambda: _excludes(folder)))
        return within(limit, lambda: _race(spark, place, facts))
    except TooLongError:
        return _late(facts, limit)
    except Exception as error:  # raised by Java or Py4J
        found = store_fault(error)
        if found is not None:
            return replace(facts, cause=found.cause, remedy=found.remedy)
        return replace(facts, cause=cause_of(error).rstrip("."))


def _race(spark: SparkSession, place: _Place, facts: StoreFacts) -> StoreFacts:
    log = place.jvm.org.apache.spark.sql.delta.DeltaLog.forTable(java_session(spark), place.name)
    store, winners, kept = log.store(), [], 0
    # Alone first: an error here is not one of the race.
    before, name = time.time(), place.commit(0)
    _write(place, store, name, "{}")
    made = place.modified(name)
    # Some file systems keep whole seconds.
    ahead = seconds_ahead(made + 1, made, before, time.time())
    for number in range(1, _ROUNDS + 1):
        name = place.commit(number)
        won = _two_writers(partial(_write, place, store, name))
        winners.append(len(won))
        with suppress(Exception):  # a commit whose bytes are of both is not kept
            kept += won == [place.content(name).strip()]
    return replace(facts, log_store=_log_store(place, store), winners=tuple(winners), kept=kept, seconds_ahead=ahead)


def _excludes(folder: Path) -> bool:
    """Whether a lock as runs take them keeps out a second process; network file systems may not know locks."""
    file = folder / "try.lock"
    code = "import sys\nfrom filelock import FileLock\nFileLock(sys.argv[1]).acquire(timeout=0)"
    with FileLock(file):
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    return done.returncode != 0 and "Timeout" in done.stderr


def _write(place: _Place, store: Any, name: str, text: str) -> None:
    lines = place.jvm.java.util.ArrayList()
    lines.add(text)
    actions = place.jvm.scala.jdk.javaapi.CollectionConverters.asScala(lines.iterator())
    store.write(place.path(name), actions, False, place.hadoop)


def _two_writers(write: Callable[[str], None]) -> list[str]:
    """Has two threads write at the same time; returns the texts of those that were not refused."""
    start, won = threading.Barrier(2), []

    def attempt(text: str) -> None:
        start.wait()
        with suppress(Exception):  # raised by Py4J: refused, in whatever way
            write(text)
            won.append(text)

    threads = [threading.Thread(target=attempt, args=(f'{{"writer": {number}}}',), daemon=True) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def _log_store(place: _Place, store: Any) -> str:
    # Delta's own names, which may change; the race does not depend on them.
    with suppress(Exception):
        delegate = store.getDelegate(place.path(place.name))
        with suppress(Exception):
            delegate = delegate.logStoreImpl()
        return str(delegate.getClass().getName()).rpartition(".")[2]
    return ""


def _late(facts: StoreFacts, limit: float) -> StoreFacts:
    remedy = "Look at the server and the network, or allow more time with --limit."
    return replace(facts, tried=True, cause=f"it did not answer within {limit:g} s", remedy=remedy)


def _catalog(spark: SparkSession, store: StoreSettings, limit: float) -> StoreFacts:
    location = f"{store.catalog}.{store.schema_}"
    facts = StoreFacts(location=location, why_not="a table in a catalog would be seen by others")
    try:
        exists = within(limit, lambda: spark.catalog.databaseExists(location))
    except TooLongError:
        return _late(facts, limit)
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
        remedy = facts.remedy or "Give the job a place that it may write to."
        return [fault(_NAME, f"{at} cannot be used: {facts.cause}.", remedy)]
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
    if facts.locks is not None:
        return _folder_commits(facts)
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
    return ok("commits", f"{of}, each was refused to one{by}.")


def _folder_commits(facts: StoreFacts) -> Finding:
    # Two renames within a folder can both succeed, so the race is a matter of chance: locks are what keeps runs apart.
    if facts.locks:
        alone = f"without them, {facts.kept} of {len(facts.winners)} commits were refused to one of two writers"
        cause = f"locks in the folder keep out other processes of this machine ({alone})."
        return ok("commits", f"{cause} Let no other machine write there.")
    return fault(
        "commits",
        "locks in the folder do not keep out other processes, and a folder alone does not refuse a second writer.",
        "Choose a folder on a disk of this machine, or an object store.",
    )
