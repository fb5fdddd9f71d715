"""A folder of documents in a bucket: parsed, refreshed and embedded as from this machine."""

import os
import time
from typing import Any

from spark_jobs import embed_library, verify_space
from tests.support.documents import docx, paragraph, pdf
from tests.support.template import files_source
from tests.validate.object_store import Site, settings_of
from tests.validate.outcome import Outcome
from tests.validate.store_files import read_rows

_OWLS, _BEES = "Owls hunt at dusk and sleep by day. " * 4, "Bees make honey in hives of wood. " * 4
# Times are those of files that nobody has just written.
_OLD = 1_500_000_000
_FOLDERS = 40
_COUNTED = ("files", "files_read", "files_parsed", "files_reused", "files_gone")
_COMPARED = "doc_id, chunk_index, text, headings, page_start, page_end, context, embedding"


def _content(name: str, number: int) -> bytes:
    if name.endswith(".pdf"):
        return pdf([[(18, 750, f"Owls {number}"), (12, 700, _OWLS)], [(12, 700, _BEES)]])
    if name.endswith(".docx"):
        return docx(paragraph(f"Bees {number}", style="Heading1") + paragraph(_BEES))
    return f"# Guide {number}\n\n{_OWLS}\n\n## Bees\n\n{_BEES}".encode()


def _put(here: Site, name: str, content: bytes) -> None:
    here.put(f"lake/documents/{name}", content)
    path = here.folder / "documents" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (_OLD, _OLD))


def documents(here: Site, outcome: Outcome) -> None:
    """Loads a folder of three kinds of documents from the server and from this machine, edits it, and compares."""
    names = [f"part {n:02}/{kind}" for n in range(_FOLDERS) for kind in ("a.pdf", "b#1.docx", "c 50%.md")]
    for number, name in enumerate(names):
        _put(here, name, _content(name, number))
    # What was written within seconds of a listing is read once more.
    time.sleep(11)
    _compare(here, outcome, "first load", {"files": len(names), "files_read": len(names), "files_parsed": len(names)})
    edited, moved, gone = names[2], names[4], names[6]
    _put(here, edited, _content(edited, 999))
    os.utime(here.folder / "documents" / edited, (_OLD + 60, _OLD + 60))
    _put(here, "moved.docx", here.folder.joinpath("documents", moved).read_bytes())
    for name in (moved, gone):
        here.server.client().delete_file(f"lake/documents/{name}")
        here.folder.joinpath("documents", name).unlink()
    changed = {"files": len(names) - 1, "files_read": 2, "files_parsed": 1, "files_reused": 1, "files_gone": 2}
    _compare(here, outcome, "refresh", changed)


def _compare(here: Site, outcome: Outcome, what: str, expected: dict[str, int]) -> None:
    rows: list[list[dict[str, Any]]] = []
    for store, root in (
        (str(here.folder / "of-documents"), str(here.folder / "documents")),
        ("s3a://lake/of-documents", "s3a://lake/documents"),
    ):
        chunking = {"max_tokens": 64, "context": ["title", "headings"]}
        settings = settings_of(store, root, source=files_source(root), chunking=chunking)
        counts = embed_library.run(here.spark, settings).counts
        place = "S3" if store.startswith("s3a") else "this machine"
        files = {name: counts[name] for name in _COUNTED if counts.get(name)}
        outcome.equal(f"documents, {what}: files on {place}", files, expected)
        outcome.equal(
            f"documents, {what}: faults that verify finds on {place}",
            [str(finding) for finding in verify_space.run(here.spark, settings).findings],
            [],
        )
        folder = here.objects(store) if place == "S3" else here.folder / "of-documents"
        found = read_rows(folder / "tldr" / "main" / "vectors", _COMPARED).to_pylist()
        rows.append(sorted(found, key=lambda row: (row["doc_id"], row["chunk_index"])))
    mine, theirs = rows
    outcome.equal(f"documents, {what}: rows on S3 equal the local ones, of {len(mine)}", mine == theirs, True)
