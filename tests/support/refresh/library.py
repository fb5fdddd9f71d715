"""A library that changes at random: a Delta table with a change feed, not written by Spark."""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from udfs.encoders.fake import NOT_FINITE, RAISES

# So few words and sentences that the same texts appear in several documents.
_WORDS = ("owl bee fox elm oak fen moor tarn beck scar ghyll rain wind hail frost thaw dawn dusk noon tide").split()  # noqa: SIM905
_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("n", pa.int64())])
# The weight of each kind of edit.
_KINDS = {"insert": 24, "edit": 40, "delete": 12, "payload": 12, "fail": 4, "empty": 3, "revive": 5}


@dataclass
class Library:
    """Documents by id, each with a text and one payload number. `publish` updates the table in `folder`."""

    folder: Path
    seed: int
    documents: dict[str, tuple[str, int]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    edits: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._published: dict[str, tuple[str, int]] = {}
        self._gone: dict[str, tuple[str, int]] = {}
        self._next_id = 0

    def change(self, edits: int) -> None:
        """Makes random edits; the table keeps the old state."""
        for _ in range(edits):
            kind = self.random.choices(list(_KINDS), list(_KINDS.values()))[0]
            if not self.documents and kind != "revive":
                kind = "insert"
            self._edit(kind)
            self.edits += 1

    def publish(self) -> None:
        """Updates the table with one delete and one merge."""
        gone = self._published.keys() - self.documents.keys()
        new = {key: value for key, value in self.documents.items() if self._published.get(key) != value}
        rows = pa.table(
            {
                "id": list(new),
                "text": [text for text, _ in new.values()],
                "n": [number for _, number in new.values()],
            },
            schema=_SCHEMA,
        )
        if not (self.folder / "_delta_log").exists():
            on = {"delta.enableChangeDataFeed": "true"}
            write_deltalake(self.folder, rows, mode="overwrite", configuration=on)
        else:
            table = DeltaTable(self.folder)
            if gone:
                table.delete("id in ({})".format(", ".join(f"'{key}'" for key in sorted(gone))))
            if new:
                merge = table.merge(rows, "t.id = s.id", source_alias="s", target_alias="t")
                merge.when_matched_update_all().when_not_matched_insert_all().execute()
        self._published = dict(self.documents)

    def make_anew(self) -> None:
        """Drops the table and creates a new one with the same name and the same documents."""
        shutil.rmtree(self.folder)
        self._published = {}
        self.publish()

    def forget_history(self) -> None:
        """Removes the files of the change feed."""
        shutil.rmtree(self.folder / "_change_data", ignore_errors=True)

    def _edit(self, kind: str) -> None:
        if kind == "insert":
            self._set(f"d{self._next_id:05}", self._text(), self.random.randrange(9))
            self._next_id += 1
            return
        if kind == "revive":
            if self._gone:
                key = self.random.choice(sorted(self._gone))
                text, number = self._gone.pop(key)
                self._set(key, self.random.choice([text, self._text()]), number)
            return
        key = self.random.choice(sorted(self.documents))
        text, number = self.documents[key]
        if kind == "delete":
            self._gone[key] = self.documents.pop(key)
            self.touched.add(key)
            return
        changed = {
            "edit": lambda: self._edited(text),
            "payload": lambda: text,
            # One fault per text, because the job may report any one of several.
            "fail": lambda: text if _fails(text) else f"{text} {self.random.choice([NOT_FINITE, RAISES])}.",
            "empty": lambda: " ",
        }[kind]()
        self._set(key, changed, number + 1 if kind == "payload" or self.random.random() < 0.1 else number)

    def _set(self, key: str, text: str, number: int) -> None:
        self.documents[key] = (text, number)
        self.touched.add(key)

    def _sentence(self) -> str:
        words = [self.random.choice(_WORDS) for _ in range(self.random.randrange(4, 9))]
        return " ".join(words).capitalize() + "."

    def _text(self) -> str:
        return " ".join(self._sentence() for _ in range(self.random.randrange(1, 7)))

    def _edited(self, text: str) -> str:
        sentences = [part.strip() + "." for part in text.split(".") if part.strip()]
        place = self.random.randrange(len(sentences) + 1)
        sentences[place : place + self.random.randrange(2)] = [self._sentence()]
        return " ".join(part for part in sentences if not _fails(part))


def _fails(text: str) -> bool:
    return NOT_FINITE in text or RAISES in text
