"""Loads a library, refreshes it and answers a question, in one session of spark-submit; prints the hits as JSON.

Usage: load_refresh_search.py SETTINGS FOLDER QUESTION. FOLDER contains the tables `source` and `next`, which is the
same with more commits; the store after the first load is kept as `first`.
"""

import shutil
import sys
from pathlib import Path

from spark_jobs.embed_library import run
from spark_jobs.runtime.session import get_session
from spark_jobs.search.hits import as_json
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search_library import answer
from spark_jobs.settings import load_settings


def main() -> None:
    settings, folder = load_settings(sys.argv[1]), Path(sys.argv[2])
    spark = get_session(settings.spark, quiet=True)
    run(spark, settings)
    shutil.copytree(folder / "lake", folder / "first")
    shutil.copytree(folder / "next", folder / "source", dirs_exist_ok=True)
    run(spark, settings)
    print(as_json(answer(spark, settings, sys.argv[3], SearchOptions(k=1))))
    spark.stop()


if __name__ == "__main__":
    main()
