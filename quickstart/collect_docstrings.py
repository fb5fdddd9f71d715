"""Collect the documents of the quick start: the docstrings of installed Python packages.

Every environment that can run embedlake holds thousands of real, public documents: the documentation inside its own
packages. This script turns about 1,500 of them into one Parquet file. The sources are parsed, never imported: reading a
package must not run it.

Which documents are taken, the same ones on every machine that has the same versions installed:

1. Packages: those of `PACKAGES` that are installed, each by the files that its own installation record lists.
2. Files: `.py` files, in the order of their paths, except where a part of the path is in `LEFT_OUT` (tests, copies of
   other packages). A folder or file with a private name counts: many libraries keep what they publish in one.
3. Definitions: a module, and the classes, methods and functions in it whose names are all public (no leading
   underscore), also under `if` and `try`; nothing inside a function.
4. Docstrings of `MIN_CHARACTERS` to `MAX_CHARACTERS` characters after `inspect.cleandoc`.
5. One document for each id. Where one is defined again (overloads, property setters, a fallback under `except`), the
   first that rule 4 leaves counts; likewise one document for each text.
6. At most `PER_PACKAGE` documents of one package and `TOTAL` in all: those with the lowest SHA-256 of their id, so that
   what is added or removed elsewhere does not move the choice.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGES = (
    "click",
    "deltalake",
    "filelock",
    "fsspec",
    "huggingface-hub",
    "hypothesis",
    "Jinja2",
    "joblib",
    "networkx",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyspark",
    "pytest",
    "PyYAML",
    "rich",
    "scikit-learn",
    "sentence-transformers",
    "tqdm",
    "typer",
)
LEFT_OUT = frozenset(
    {"_vendor", "_vendored", "benchmarks", "conftest.py", "externals", "test", "testing", "tests", "vendored"}
)
MIN_CHARACTERS = 200
# A library to try things on should be embedded in minutes on two cores.
MAX_CHARACTERS = 2_500
PER_PACKAGE = 120
TOTAL = 1500


class Document(NamedTuple):
    """One row of the quick start's library; the fields are the columns of the Parquet file, in this order."""

    doc_id: str
    title: str
    text: str
    package: str
    version: str
    module: str
    kind: str


SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in Document._fields])


def module_name(path: PurePosixPath) -> str:
    """Name the module that a file of a package holds.

    Args:
        path: The file's path below the folder that is on Python's path, such as `rich/table.py`.

    Returns:
        The dotted name, such as `rich.table`; that of the package itself for an `__init__.py`.
    """
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_definitions(body: Iterable[ast.stmt], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Find the public classes and functions of a block, in source order, down to methods and nested classes.

    Args:
        body: The statements of a module, class or branch.
        prefix: What goes before a name that the block defines, with its dot.

    Yields:
        Qualified name, kind (`class` or `function`) and raw docstring of each definition that has one.
    """
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("_"):
                continue
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                yield prefix + node.name, kind, docstring
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            branches = [*node.body, *node.orelse]
            if isinstance(node, ast.Try):
                branches += [statement for handler in node.handlers for statement in handler.body]
            yield from public_definitions(branches, prefix)


def documents_of_source(source: bytes, module: str, package: str, version: str) -> Iterator[Document]:
    """Read the documents of one source file.

    Args:
        source: The file's bytes; Python itself finds their encoding.
        module: The module's dotted name.
        package: The distribution's name.
        version: The distribution's version.

    Yields:
        The documents that rules 3 and 4 of this module's text leave, in source order.

    Raises:
        SyntaxError: The file is not Python of this interpreter's version.
        ValueError: The file holds a null byte.
    """
    tree = ast.parse(source)
    found = list(public_definitions(tree.body))
    docstring = ast.get_docstring(tree, clean=False)
    if docstring is not None and not module.rpartition(".")[2].startswith("_"):
        found.insert(0, ("", "module", docstring))
    for qualname, kind, raw in found:
        # A docstring may spell half of a surrogate pair, which no UTF-8 file can hold.
        text = inspect.cleandoc(raw).encode("utf-8", "replace").decode("utf-8")
        if MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
            title = f"{module}.{qualname}" if qualname else module
            yield Document(f"{package}:{title}", title, text, package, version, module, kind)


def documents_of_package(installed: Distribution) -> tuple[list[Document], int]:
    """Read the documents of one installed package.

    Args:
        installed: The package's installation record.

    Returns:
        Its documents, and how many of its files could not be parsed.
    """
    package, version, unreadable = installed.metadata["Name"], installed.version, 0
    documents: list[Document] = []
    for file in sorted(installed.files or (), key=str):
        # What lies outside the packages' folder (scripts) has no module name.
        if file.suffix != ".py" or ".." in file.parts or not LEFT_OUT.isdisjoint(file.parts):
            continue
        try:
            source = Path(str(installed.locate_file(file))).read_bytes()
            documents.extend(documents_of_source(source, module_name(file), package, version))
        except (OSError, SyntaxError, ValueError):
            unreadable += 1
    return documents, unreadable


def choose(documents: Iterable[Document], per_package: int = PER_PACKAGE, total: int = TOTAL) -> list[Document]:
    """Apply rules 5 and 6 of this module's text.

    Args:
        documents: Every document found, in the order that decides between those of one id or one text.
        per_package: At most so many documents of one package.
        total: At most so many documents in all.

    Returns:
        The chosen documents, ordered by id.
    """
    ids: set[str] = set()
    texts: set[str] = set()
    distinct: list[Document] = []
    for document in documents:
        if document.doc_id not in ids and document.text not in texts:
            ids.add(document.doc_id)
            texts.add(document.text)
            distinct.append(document)
    distinct.sort(key=lambda document: hashlib.sha256(document.doc_id.encode()).digest())
    taken: dict[str, int] = {}
    chosen: list[Document] = []
    for document in distinct:
        taken[document.package] = taken.get(document.package, 0) + 1
        if taken[document.package] <= per_package and len(chosen) < total:
            chosen.append(document)
    return sorted(chosen)


def write(documents: list[Document], out: Path) -> None:
    """Write the documents as one Parquet file, which appears whole or not at all.

    Args:
        documents: The rows.
        out: The file; its folder is made.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    # Spark passes over files whose names begin with a dot.
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist([document._asdict() for document in documents], schema=SCHEMA), unfinished)
    unfinished.replace(out)


def main(arguments: list[str] | None = None) -> int:
    """Collect, choose, write, and print what was done in one line.

    Args:
        arguments: The command line without the program's name; None for the process's own.

    Returns:
        The exit code: 0, or 2 when no document was found.
    """
    parser = argparse.ArgumentParser(description="Collect docstrings of installed packages into one Parquet file.")
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    out: Path = parser.parse_args(arguments).out
    documents: list[Document] = []
    packages = unreadable = 0
    for name in PACKAGES:
        try:
            found, failed = documents_of_package(distribution(name))
        except PackageNotFoundError:
            continue
        documents += found
        unreadable += failed
        packages += 1
    chosen = choose(documents)
    if not chosen:
        print("collect_docstrings: none of the listed packages is installed with its sources", file=sys.stderr)
        return 2
    write(chosen, out)
    skipped = f", {unreadable} files could not be parsed" if unreadable else ""
    print(f"{out}: {len(chosen):,} of {len(documents):,} docstrings from {packages} packages{skipped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
