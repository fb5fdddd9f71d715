"""The project's own code in parsed form: modules, the imports between them, and the folders they belong to."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from tests.support.paths import ROOT

PACKAGES = ("schemas", "udfs", "spark_jobs")
# Files in packages that are not modules: the parts of the page of a report, and models of phrases.
ASSETS = {f"spark_jobs/page/page.{ending}" for ending in ("html", "css", "js")}
ASSETS |= {f"udfs/chunking/phrases_{language}.json" for language in ("ja", "th", "zh_hans", "zh_hant")}
# Spark calls these modules at the top level of `udfs`. No other module in `udfs` uses Spark.
SKINS = {"udfs.chunk_documents", "udfs.embed", "udfs.parse_files", "udfs.search", "udfs.worker"}


@dataclass(frozen=True)
class Import:
    """One name that a module imports, and its line.

    Attributes:
        module: The module after `import` or `from`; empty in `from . import x`.
        name: The name after `from … import`, or None.
        lazy: Whether the import runs in a function instead of when the module is loaded.
    """

    module: str
    name: str | None
    line: int
    level: int
    lazy: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Module:
    """One source file. `path` is relative to the root of the project."""

    path: str
    source: str

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def folder(self) -> str:
        """The module's entry in the table of arrows."""
        first, *rest = self.path.split("/")
        if first == "schemas":
            return first
        if first == "udfs":
            return f"udfs/{rest[0]}" if len(rest) > 1 else "udfs skins" if self.name in SKINS else "udfs"
        if len(rest) > 1:
            return "/".join(rest[:-1])
        return {"__init__.py": "spark_jobs", "cli.py": "cli"}.get(rest[0], "jobs")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[Import]:
        at_load = set(map(id, _run_at_load(self.tree)))
        found = []
        for node in self.nodes:
            lazy = id(node) not in at_load
            if isinstance(node, ast.Import):
                found += [Import(alias.name, None, node.lineno, 0, lazy) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [Import(node.module or "", n.name, node.lineno, node.level, lazy) for n in node.names]
        return found

    @cached_property
    def names(self) -> list[tuple[str, int]]:
        """Each name and dotted name, such as `yaml.load`, with its line."""
        nodes = [node for node in self.nodes if isinstance(node, ast.Attribute | ast.Name)]
        return [(dotted(node), node.lineno) for node in nodes]

    @cached_property
    def calls(self) -> list[ast.Call]:
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def texts(self) -> list[tuple[str, int]]:
        """Each string that is not a docstring, with its line. Comments are not strings."""
        owners = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        bodies = [node.body for node in self.nodes if isinstance(node, owners) and node.body]
        docstrings = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
        constants = [node for node in self.nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
        return [(node.value, node.lineno) for node in constants if isinstance(node.value, str)]


def dotted(node: ast.AST) -> str:
    """A name with its attributes. Anything else becomes `()`, as in `().load`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "()"


def _run_at_load(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that is outside functions and outside blocks for type checkers."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and dotted(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _run_at_load(other)
        else:
            yield from _run_at_load(child)


class Code:
    """All modules by name, and the targets of their imports."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = {module.name: module for module in (Module(*item) for item in sorted(modules.items()))}

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules.values())

    def target(self, found: Import) -> Module | None:
        """The project's module that an import refers to, or None if it is not in the project."""
        return self.modules.get(f"{found.module}.{found.name}") or self.modules.get(found.module)

    def arrows(self, module: Module) -> Iterator[tuple[Module, Import]]:
        """The project's modules that a module imports, anywhere in its code."""
        for found in module.imports:
            if (target := self.target(found)) is not None:
                yield target, found

    def loaded_with(self, name: str) -> set[str]:
        """Top-level names of everything imported when a module is loaded, as far as the project's own code shows."""
        seen, waiting = set(), [name]
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                # Loading a.b.c also runs the __init__ of a and of a.b.
                parents = [here.rsplit(".", end)[0] for end in range(1, here.count(".") + 1)]
                at_load = [other.name for other, found in self.arrows(self.modules[here]) if not found.lazy]
                waiting += [other for other in (*parents, *at_load) if other in self.modules]
        return {found.top for here in seen for found in self.modules[here].imports if not found.lazy}


@cache
def read_code(root: Path = ROOT) -> Code:
    paths = [path for package in PACKAGES for path in root.joinpath(package).rglob("*.py")]
    return Code({path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths})
