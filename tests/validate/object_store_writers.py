"""Two drivers that write the same commit to S3 at the same moment, and two runs of one space."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spark_jobs import embed_library
from spark_jobs.runtime.session import get_session
from spark_jobs.settings.sections import SparkSettings
from tests.support.object_store.server import properties_of
from tests.support.refresh.crashes import clean_environment
from tests.support.small_tables import SHORT_LIVED

if TYPE_CHECKING:
    from tests.validate.object_store import Site
    from tests.validate.outcome import Outcome

ROUNDS = 100
# Both drivers write within this time of each other, or one is late for the round.
_EVERY = 0.25
_DRIVERS = 2


def writers(here: "Site", outcome: "Outcome") -> None:
    """Races two drivers for the same commits, and then two runs of one space."""
    table = "s3a://lake/race"
    won = _race(here, table)
    winners = [sum(each[number] for each in won) for number in range(ROUNDS)]
    log = here.objects(table) / "_delta_log"
    kept = [json.loads((log / f"{number:020}.json").read_text())["writer"] for number in range(ROUNDS)]
    whole = sum(won[writer][number] for number, writer in enumerate(kept))
    outcome.equal(f"commits of {ROUNDS} that are whole, and of a driver that was told so", whole, ROUNDS)
    outcome.measured(
        commits_that_two_drivers_tried_at_once=ROUNDS,
        commits_that_one_of_them_won=winners.count(1),
        commits_that_both_were_told_they_won=winners.count(2),
    )
    _two_runs(here, outcome)


def _race(here: "Site", table: str) -> list[list[bool]]:
    go = here.folder / "go"
    orders = [json.dumps([number, table, here.server.endpoint, str(go)]) for number in range(_DRIVERS)]
    command = [sys.executable, __file__]
    environment = {**clean_environment(), **here.server.credentials, "PYTHONPATH": os.pathsep.join(sys.path)}
    drivers = [
        subprocess.Popen([*command, order], env=environment, stdout=subprocess.PIPE, text=True) for order in orders
    ]
    ready = [Path(f"{go}.{number}") for number in range(_DRIVERS)]
    while not all(file.exists() for file in ready):
        if any(driver.poll() is not None for driver in drivers):
            raise RuntimeError("a driver ended before the race")
        time.sleep(0.1)
    go.write_text(str(time.time() + 2))
    return [json.loads(driver.communicate(timeout=300)[0].splitlines()[-1]) for driver in drivers]


def drive(number: int, table: str, endpoint: str, go: Path) -> list[bool]:
    """Writes commits of a table by Delta's own class, each at a time that is agreed on; says which succeeded."""
    properties = {**SHORT_LIVED, **properties_of(endpoint)}
    spark = get_session(SparkSettings(master="local[1]", properties={**properties, "spark.driver.memory": "1g"}), True)
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    hadoop = session.sessionState().newHadoopConf()
    store = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(session, table).store()

    def write(name: str) -> bool:
        lines = jvm.java.util.ArrayList()
        lines.add(json.dumps({"writer": number}))
        actions = jvm.scala.jdk.javaapi.CollectionConverters.asScala(lines.iterator())
        try:
            store.write(jvm.org.apache.hadoop.fs.Path(f"{table}/_delta_log/{name}.json"), actions, False, hadoop)
        except Exception:  # raised by Py4J: refused, in whatever way
            return False
        return True

    # What is loaded for the first write must not decide.
    write(f"warm-{number}")
    Path(f"{go}.{number}").touch()
    while not go.exists() or not go.read_text():
        time.sleep(0.05)
    begin, won = float(go.read_text()), []
    for round_ in range(ROUNDS):
        time.sleep(max(0.0, begin + round_ * _EVERY - time.time()))
        won.append(write(f"{round_:020}"))
    return won


def _two_runs(here: "Site", outcome: "Outcome") -> None:
    """Starts two runs of one space at the same moment, and runs again in the end."""
    from tests.validate.object_store import publish, settings_of
    from tests.validate.real_data import read_steps
    from tests.validate.store_files import read_rows

    (documents,) = [step.documents[:400] for step in read_steps("tldr-en", ["2025-01-01"])]
    publish(here, documents)
    settings = settings_of("s3a://lake/two", "s3a://lake/source")
    values = settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    values["spark"] = {"master": "local[1]", "properties": {**SHORT_LIVED, **properties_of(here.server.endpoint)}}
    file = here.folder / "two.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", "from spark_jobs.cli import main; main()", "embed", "--config", str(file)]
    environment = {**clean_environment(), **here.server.credentials, "PYTHONPATH": os.pathsep.join(sys.path)}
    pair = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=400)[1].strip().splitlines()[-1] for process in pair]
    codes = sorted(process.returncode for process in pair)
    outcome.measured(two_runs_exit_codes=str(codes), two_runs_said=" | ".join(line[9:120] for line in said))
    outcome.equal(
        "two runs at once: each succeeded, was refused (4), or lost a commit and may be repeated (1)",
        set(codes) <= {0, 1, 4},
        True,
    )
    outcome.at_least("two runs at once: succeeded", codes.count(0), 1)
    report = embed_library.run(here.spark, settings, take_over=True)
    outcome.equal("after both: documents embedded", report.counts["library_embedded"], len(documents))
    local = settings_of(str(here.folder / "alone"), str(here.folder / "source"))
    embed_library.run(here.spark, local)
    tables = [
        read_rows(root / "tldr" / "main" / "vectors", "chunk_id, doc_id, text, embedding")
        for root in (here.folder / "alone", here.objects("s3a://lake/two"))
    ]
    outcome.equal("after both: vectors equal those of one run on this machine", tables[0].equals(tables[1]), True)


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(drive(*order[:3], Path(order[3]))))
