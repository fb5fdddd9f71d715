"""A folder of many files: how long listing and planning take, and what a refresh reads; each command is a process.

Run by `make validate-folders`, or with the names of parts: listing, refresh. The files are short texts, all of other
contents, written long before the first listing. The model is the stand-in, because inference is not the subject.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.plan import counts_of, embedlake  # noqa: E402

LISTED, REFRESHED, CHANGED = 100_000, 20_000, 10
PLAN_SECONDS = 60.0
A_FOLDER = 1_000
OLD = 1_500_000_000


def write_files(folder: Path, count: int) -> int:
    """Writes short Markdown files, a thousand a folder; returns their bytes."""
    size = 0
    for number in range(count):
        path = folder / f"{number // A_FOLDER:03}" / f"note {number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"# Note {number}\n\n" + f"Owls of valley {number} hunt mice at night. " * (3 + number % 17)
        size += path.write_text(text)
        os.utime(path, (OLD, OLD))
    return size


def settings_file(folder: Path) -> Path:
    """Writes the settings of a library whose source is the folder `files`."""
    values = {
        "library": "notes",
        "store": {"path": str(folder / "store")},
        "source": {"format": "documents", "path": str(folder / "files"), "payload_columns": ["title", "size"]},
        "model": {"path": "fake:8"},
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def plan(outcome: Outcome, settings: Path, what: str, added: int, changed: int) -> None:
    """Plans the next run, and holds its time and its numbers to what they must be."""
    text, seconds, _ = embedlake("plan", "--config", settings, "--json")
    documents = json.loads(text)["documents"]
    outcome.equal(
        f"documents that a plan finds new and changed, {what}",
        [documents["added"], documents["changed"]],
        [added, changed],
    )
    outcome.at_most(f"seconds of a plan, session and all, {what}", round(seconds, 1), PLAN_SECONDS)


def refresh(outcome: Outcome, folder: Path, count: int = REFRESHED) -> None:
    """Loads files, runs with nothing to do, edits ten of them, moves ten and runs again."""
    size, settings = write_files(folder / "files", count), settings_file(folder)
    plan(outcome, settings, "before anything is loaded", count, 0)
    summary, seconds, _ = embedlake("embed", "--config", settings)
    print(summary)
    counts = counts_of(settings)
    outcome.equal("files parsed by the first load", counts["files_parsed"], count)
    outcome.equal("bytes read by the first load", counts["bytes_read"], size)
    outcome.measured(bytes=size, first_load_seconds=round(seconds, 1))
    _, seconds, _ = embedlake("embed", "--config", settings)
    outcome.equal("files read by a run with nothing to do", counts_of(settings).get("files_read", 0), 0)
    outcome.measured(nothing_to_do_seconds=round(seconds, 1))
    edited = 0
    for number in range(0, count, count // CHANGED):
        path = folder / "files" / f"{number // A_FOLDER:03}" / f"note {number}.md"
        edited += path.write_text(path.read_text() + "And an owl more.\n")
    moved = 0
    for number in range(1, count, count // CHANGED):
        path = folder / "files" / f"{number // A_FOLDER:03}" / f"note {number}.md"
        moved += _moved(path)
    plan(outcome, settings, f"after {CHANGED} files were edited and {CHANGED} moved", CHANGED, CHANGED)
    summary, seconds, _ = embedlake("embed", "--config", settings)
    print(summary)
    counts = counts_of(settings)
    outcome.equal("bytes read by the refresh", counts["bytes_read"], edited + moved)
    outcome.equal("files parsed by the refresh", counts["files_parsed"], CHANGED)
    outcome.equal("files known by their content", counts["files_reused"], CHANGED)
    outcome.equal("documents that the refresh embedded", counts["changed"], CHANGED)
    outcome.measured(refresh_seconds=round(seconds, 1), bytes_read=counts["bytes_read"])


def _moved(path: Path) -> int:
    target = path.with_name(f"moved {path.name}")
    path.rename(target)
    return target.stat().st_size


def listing(outcome: Outcome, folder: Path) -> None:
    """Plans a library of 100,000 files of which nothing is loaded."""
    write_files(folder / "files", LISTED)
    settings = settings_file(folder)
    plan(outcome, settings, f"{LISTED:,} files and nothing loaded", LISTED, 0)


PARTS: dict[str, Callable[[Outcome, Path], None]] = {"listing": listing, "refresh": refresh}


def main() -> None:
    """Measures and compares; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"parts to run: {', '.join(PARTS)}; all by default")
    faults = []
    for name in parser.parse_args().parts or list(PARTS):
        outcome = Outcome(f"documents: {name}")
        with tempfile.TemporaryDirectory() as scratch:
            PARTS[name](outcome, Path(scratch))
        path = ROOT / "tests" / "validate" / "results" / "document-folders.json"
        write_outcome(path, outcome, "make validate-folders")
        faults += outcome.faults
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
