"""The library of the quick start, edited, and its tables compared with it."""

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.booted import Booted
from tests.support.refresh.oracle import query
from tests.validate.outcome import Outcome

_EDIT = " This sentence was added by an edit."


def edit(source: Path, changed: int, removed: int, added: int) -> None:
    """Changes, removes and adds documents.

    Args:
        source: The file of documents.
        changed: How many get another sentence; another call changes other ones.
        removed: How many others go.
        added: How many come.
    """
    table = pq.read_table(source)
    rows = table.to_pylist()
    text = "text" if "text" in rows[0] else "body"
    rows = rows[changed:] + [{**row, text: row[text] + _EDIT} for row in rows[:changed]]
    new = [{**rows[-1], "doc_id": f"new:{number}", text: f"New document {number}.{_EDIT}"} for number in range(added)]
    written = source.with_suffix(".new")
    pq.write_table(pa.Table.from_pylist(rows[removed:] + new, schema=table.schema), written)
    # At once, because a run may be reading.
    written.rename(source)


def compare(outcome: Outcome, what: str, source: Path, space: Path, exported: Path | None, text: str = "text") -> None:
    """Compares ledger and vectors with the source, and an export to Parquet with the vectors.

    Args:
        outcome: Where the comparisons go.
        what: What was done before.
        source: The file of documents.
        space: The folder of the space.
        exported: The folder of the export; None without one.
        text: The column of texts.
    """
    documents = {row["doc_id"]: row[text] for row in pq.read_table(source).to_pylist()}
    embedded = {row["doc_id"] for row in query(space / "ledger", "select doc_id from t where status = 'embedded'")}
    outcome.equal(f"{what}: documents that only source or ledger has", len(documents.keys() ^ embedded), 0)
    stored = query(space / "vectors", "select chunk_id, doc_id, text from t")
    edited = {name for name, body in documents.items() if body.endswith(_EDIT)}
    with_edit = {row["doc_id"] for row in stored if _EDIT.strip() in row["text"]}
    outcome.equal(f"{what}: edited documents whose vectors have the edit", len(with_edit & edited), len(edited))
    if exported is not None:
        sent = set(pq.read_table(exported, columns=["chunk_id"]).column("chunk_id").to_pylist())
        outcome.equal(
            f"{what}: chunks that only table or export has", len({row["chunk_id"] for row in stored} ^ sent), 0
        )
    outcome.measured(**{f"{what}: chunks": len(stored)})


def copied_out(system: Booted, path: str, scratch: Path) -> Path:
    """Copies a folder out of another system: readers of Delta take the link to its root for this system's.

    Args:
        system: The other system.
        path: The folder there.
        scratch: Where the copy goes.

    Returns:
        The copy.
    """
    return Path(shutil.copytree(f"/proc/{system.pid}/root{path}", Path(tempfile.mkdtemp(dir=scratch), "copy")))
