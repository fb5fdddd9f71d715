"""Collect the documents of the quick start: the docstrings of installed Python packages.

Every environment that can run embedlake contains thousands of real, public documents: the documentation of its own
packages. This script writes about 600 of them to one Parquet file. It parses the sources and never imports them,
because reading a package must not run it.

The choice of documents is the same on every machine with the same versions installed:

1. Packages: the `PACKAGES` that are installed, each with the files in its installation record.
2. Files: `.py` files in path order, unless part of the path is in `LEFT_OUT` (tests, copies of other packages). Folders
   and files with private names are included, because many libraries define their public names in them.
3. Definitions: modules and their classes, methods and functions. Every part of the name must be public (no leading
   underscore). Definitions under `if` and `try` are included; definitions inside functions are not.
4. Docstrings of `MIN_CHARACTERS` to `MAX_CHARACTERS` characters after `inspect.cleandoc`.
5. One document for each id and for each text. If one is defined again (overloads, property setters, a fallback under
   `except`), the first that passes rule 4 is used.
6. At most `PER_PACKAGE` documents per package and `TOTAL` overall: the ones with the lowest SHA-256 of their ids, so
   that documents added or removed elsewhere do not change the choice.
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

# Few enough that a large part of each is there: then most questions about them have an answer.
PACKAGES = (
    "click",
    "filelock",
    "fsspec",
    "Jinja2",
    "joblib",
    "networkx",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pytest",
    "rich",
    "tqdm",
    "typer",
)
LEFT_OUT = frozenset(
    {"_vendor", "_vendored", "benchmarks", "conftest.py", "externals", "test", "testing", "tests", "vendored"}
)
MIN_CHARACTERS = 200
# The library should be embedded within minutes on two cores.
MAX_CHARACTERS = 2_500
PER_PACKAGE = 65
TOTAL = 600


class Document(NamedTuple):
    """One row of the quick start's library. The fields are the columns of the Parquet file, in this order."""

    doc_id: str
    title: str
    text: str
    package: str
    version: str
    module: str
    kind: str


SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in Document._fields])


def module_name(path: PurePosixPath) -> str:
    """Returns the dotted name of the module in a file, such as `rich.table` for `rich/table.py`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_definitions(body: Iterable[ast.stmt], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Finds the public classes and functions of a block, in source order, including methods and nested classes.

    Args:
        body: The statements of a module, class or branch.
        prefix: Qualified name of the enclosing class, with a trailing dot.

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
    """Reads the documents of one source file, following rules 3 and 4 of the module docstring.

    Args:
        source: The file's bytes; Python itself detects their encoding.
        module: The module's dotted name.
        package: The distribution's name.
        version: The distribution's version.

    Yields:
        The documents in source order.

    Raises:
        SyntaxError: The file cannot be parsed by this version of Python.
        ValueError: The file contains a null byte.
    """
    tree = ast.parse(source)
    definitions = list(public_definitions(tree.body))
    docstring = ast.get_docstring(tree, clean=False)
    if docstring is not None and not module.rpartition(".")[2].startswith("_"):
        definitions.insert(0, ("", "module", docstring))
    for qualname, kind, raw in definitions:
        # A docstring may contain half of a surrogate pair, which cannot be encoded as UTF-8.
        text = inspect.cleandoc(raw).encode("utf-8", "replace").decode("utf-8")
        if MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
            title = f"{module}.{qualname}" if qualname else module
            yield Document(f"{package}:{title}", title, text, package, version, module, kind)


def documents_of_package(installed: Distribution) -> tuple[list[Document], int]:
    """Returns the documents of an installed package and the number of its files that could not be parsed."""
    package, version, unreadable = installed.metadata["Name"], installed.version, 0
    documents: list[Document] = []
    for file in sorted(installed.files or (), key=str):
        # Files outside the site-packages folder (scripts) have no module name.
        if file.suffix != ".py" or ".." in file.parts or not LEFT_OUT.isdisjoint(file.parts):
            continue
        try:
            source = Path(str(installed.locate_file(file))).read_bytes()
            documents.extend(documents_of_source(source, module_name(file), package, version))
        except (OSError, SyntaxError, ValueError):
            unreadable += 1
    return documents, unreadable


def choose(documents: Iterable[Document], per_package: int = PER_PACKAGE, total: int = TOTAL) -> list[Document]:
    """Chooses documents, following rules 5 and 6 of the module docstring.

    Args:
        documents: All documents; the first with a given id or text is used.
        per_package: Maximum number of documents per package.
        total: Maximum number of documents overall.

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
    ranks: dict[str, int] = {}
    chosen: list[Document] = []
    for document in distinct:
        ranks[document.package] = ranks.get(document.package, 0) + 1
        if ranks[document.package] <= per_package and len(chosen) < total:
            chosen.append(document)
    return sorted(chosen)


def write(documents: list[Document], out: Path) -> None:
    """Writes the documents as one Parquet file, which appears complete or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    # Spark ignores files whose names begin with a dot.
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist([document._asdict() for document in documents], schema=SCHEMA), unfinished)
    unfinished.replace(out)


def main(arguments: list[str] | None = None) -> int:
    """Collects, chooses and writes the documents; returns the exit code: 0, or 2 if no document was found."""
    parser = argparse.ArgumentParser(description="Collect docstrings of installed packages into one Parquet file.")
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    out: Path = parser.parse_args(arguments).out
    documents: list[Document] = []
    packages = unreadable = 0
    for name in PACKAGES:
        try:
            of_package, unparsed = documents_of_package(distribution(name))
        except PackageNotFoundError:
            continue
        documents += of_package
        unreadable += unparsed
        packages += 1
    chosen = choose(documents)
    if not chosen:
        print("collect_docstrings: none of the listed packages is installed with its source files", file=sys.stderr)
        return 2
    write(chosen, out)
    skipped = f", {unreadable} files could not be parsed" if unreadable else ""
    print(f"{out}: {len(chosen):,} of {len(documents):,} docstrings from {packages} packages{skipped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
