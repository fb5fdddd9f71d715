"""Writes the small store that tests of older formats open: `python tests/stores/make_store.py`.

Run it before the format of the store changes. It writes `format-<number>.tar.gz` beside itself, which tests then open
with every later version. The library has four birds, and the stand-in model. Its first run loaded it, its second one
changed a payload, embedded a new text and removed a document, and its third one died with a text embedded but not
committed.
`format-1.tar.gz` was written by the last revision whose stores had no format number.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schemas.format import FORMAT
from spark_jobs.embed_library import run
from spark_jobs.runtime.session import get_session
from spark_jobs.settings import Settings, as_settings
from spark_jobs.settings.sections import SparkSettings
from spark_jobs.store.failpoints import VARIABLE, SimulatedCrash
from tests.support.small_tables import NO_CHECKSUM_FILES, PROPERTIES

Document = dict[str, Any]
LOADED: list[Document] = [
    {"id": "owl", "text": "Owls hunt at night.", "legs": 2},
    {"id": "wren", "text": "Wrens sing all year.", "legs": 2},
    {"id": "dodo", "text": "Dodos are gone.", "legs": 2},
]
REFRESHED: list[Document] = [
    {"id": "owl", "text": "Owls hunt at dusk.", "legs": 2},
    {"id": "wren", "text": "Wrens sing all year.", "legs": 4},
]
# The text of the rook is embedded and staged, and its document is in no other table than `plan`.
CRASHED: list[Document] = [*REFRESHED, {"id": "rook", "text": "Rooks nest in elms.", "legs": 2}]


def settings_of(store: Path, source: Path) -> Settings:
    """Settings of the library.

    Args:
        store: Folder of the store.
        source: JSON lines file with its documents.

    Returns:
        The settings.
    """
    return as_settings(
        {
            "library": "birds",
            "store": {"path": str(store)},
            "source": {
                "format": "json",
                "path": str(source),
                "id_column": "id",
                "text_columns": ["text"],
                "payload_columns": ["legs"],
            },
            "model": {"path": "fake:8"},
            "run": {"max_removed_fraction": 0.5},
        }
    )


def write_source(path: Path, documents: list[Document]) -> None:
    """Writes documents as JSON lines, replacing the previous content.

    Args:
        path: The file.
        documents: Its documents.
    """
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))


def unpacked(archive: str, folder: Path) -> Settings:
    """Unpacks a store that was kept, beside the documents that its third run began with.

    Args:
        archive: Name of the archive in this folder.
        folder: Where `store` and `source.jsonl` shall be.

    Returns:
        The settings.
    """
    shutil.unpack_archive(Path(__file__).with_name(archive), folder / "store", filter="data")
    write_source(folder / "source.jsonl", CRASHED)
    return settings_of(folder / "store", folder / "source.jsonl")


def make_store(archive: Path) -> None:
    """Makes the store.

    Args:
        archive: Path of the archive, without its suffix.
    """
    # The record of runs names the machine.
    socket.gethostname = lambda: "host"
    spark = get_session(SparkSettings(master="local[1]", properties={**PROPERTIES, **NO_CHECKSUM_FILES}), quiet=True)
    with tempfile.TemporaryDirectory() as working:
        store, source = Path(working, "store"), Path(working, "source.jsonl")
        for documents in (LOADED, REFRESHED):
            write_source(source, documents)
            run(spark, settings_of(store, source))
        write_source(source, CRASHED)
        os.environ[VARIABLE] = "vectors.before:1:raise"
        with suppress(SimulatedCrash):
            run(spark, settings_of(store, source))
            raise SystemExit("the third run did not die")
        spark.stop()
        kept = Path(working, "kept")
        shutil.copytree(store, kept, ignore=shutil.ignore_patterns("locks", "*.crc"))
        shutil.make_archive(str(archive), "gztar", kept)


if __name__ == "__main__":
    make_store(Path(__file__).with_name(f"format-{FORMAT}"))
