"""Asks questions of a library in a loop, from a process of its own, and writes down each answer with its times.

`python tests/support/asker.py SETTINGS FOLDER [TABLE]`: answers go to `search.jsonl` and, where a table of PostgreSQL
with its vectors is named, `postgresql.jsonl`, until `stop` is in the folder. `PGHOST` and `PGUSER` name the server.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

QUESTIONS = [f"Owls hunt mouse {number}." for number in range(20)]
# Between two questions to PostgreSQL, which answers within a millisecond.
_PAUSE = 0.02


def ask_until_stopped(folder: Path, name: str, ask: Callable[[int], dict[str, Any]]) -> None:
    """Asks one question after another; an answer that fails is written down as its error."""
    number = 0
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as out:
        while not (folder / "stop").exists():
            began = time.time()
            try:
                answer = ask(number % len(QUESTIONS))
            except Exception as error:  # what a user would see, whatever it is
                answer = {"error": f"{type(error).__name__}: {error}"[:500]}
            row = {"question": number % len(QUESTIONS), "began": began, "ended": time.time(), **answer}
            out.write(json.dumps(row) + "\n")
            out.flush()
            number += 1


def searcher(settings_file: str) -> Callable[[int], dict[str, Any]]:
    """Searches as a service would: one warm session, and the library's active space at each question."""
    from spark_jobs.runtime.session import get_session
    from spark_jobs.search.nearest import SearchOptions
    from spark_jobs.search_library import answer
    from spark_jobs.settings import load_settings

    settings = load_settings(settings_file)
    spark = get_session(settings.spark, quiet=True)

    def ask(number: int) -> dict[str, Any]:
        found = answer(spark, settings, QUESTIONS[number], SearchOptions(k=3))
        return {
            "space": found.space.partition(".")[2],
            "hits": [[hit.doc_id, round(float(hit.score), 5)] for hit in found.hits],
        }

    return ask


def querier(table: str) -> Callable[[int], dict[str, Any]]:
    """Queries PostgreSQL as an application would: one statement, with a connection that stays open."""
    import psycopg
    from psycopg import sql

    connection = psycopg.connect(dbname="postgres", autocommit=True)
    found = sql.SQL("SELECT count(*), min(vector_dims(embedding)), max(vector_dims(embedding)) FROM {}")
    statement = found.format(sql.Identifier("public", table))

    def ask(_: int) -> dict[str, Any]:
        time.sleep(_PAUSE)
        row = connection.execute(statement).fetchone()
        assert row is not None
        return {"rows": row[0], "dimensions": [row[1], row[2]]}

    return ask


def main() -> None:
    settings_file, folder, *tables = sys.argv[1:]
    threads = [
        threading.Thread(target=ask_until_stopped, args=(Path(folder), "postgresql", querier(table)))
        for table in tables
    ]
    for thread in threads:
        thread.start()
    ask_until_stopped(Path(folder), "search", searcher(settings_file))
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
