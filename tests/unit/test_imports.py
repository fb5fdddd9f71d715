"""What may import what, which words stand where, and how long files and functions may be."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each package and the ones it may import.
PACKAGES = {"schemas": {"schemas"}, "udfs": {"udfs", "schemas"}, "spark_jobs": {"spark_jobs", "udfs", "schemas"}}
OWN = {*PACKAGES, "conf", "tests", "quickstart"}
FILES = sorted(path for package in PACKAGES for path in ROOT.joinpath(package).rglob("*.py"))
MOST_FILE_LINES = 200
MOST_FUNCTION_LINES = 40

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "", node)


def names_in(path: Path) -> Iterator[tuple[str, int]]:
    """Each name and dotted name in the code, such as `yaml.load`, with its line."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute | ast.Name):
            yield ast.unparse(node), node.lineno


def texts_in(path: Path) -> Iterator[str]:
    """Each string of the code that is no docstring; comments are none either."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def calls_in(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))


def test_there_is_something_to_look_at() -> None:
    assert {path.parent.name for path in FILES} == set(PACKAGES)
    assert len(FILES) > 40


# Arrows between packages


@each_file
def test_packages_import_only_what_lies_below_them(path: Path) -> None:
    allowed = PACKAGES[path.relative_to(ROOT).parts[0]]
    found = {name.partition(".")[0] for name, _ in imports_of(path)}
    assert found & OWN <= allowed


@each_file
def test_imports_are_absolute_and_of_names(path: Path) -> None:
    for _, node in imports_of(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} is relative: spark-submit would not find it"
            assert [alias.name for alias in node.names] != ["*"], f"line {node.lineno}"


@each_file
def test_no_module_of_ours_is_imported_without_its_package(path: Path) -> None:
    # `import settings` would work where spark-submit put spark_jobs/ itself on the path, and nowhere else.
    siblings = {sibling.stem for sibling in path.parent.glob("*.py")} - {"__init__"}
    assert not {name.partition(".")[0] for name, _ in imports_of(path)} & siblings


SKINS = {"chunk_documents", "embed", "search", "worker"}
PLAIN = [path for path in FILES if path.parent.name == "udfs" and path.stem not in SKINS]
# What the encoder of real models is made of.
TORCH = {"encoder_sentence", "features", "openvino_forward", "packed_linear", "unpadded"}
HEAVY = {"torch", "transformers", "sentence_transformers", "huggingface_hub"}


@cache
def loaded_at_import(path: Path) -> frozenset[str]:
    """Whatever the import of a module of ours imports, as far as it can be seen in our own code."""
    found = set()
    for node in tree_of(path).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            found.add(name)
            ours = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if ours.exists():
                found |= loaded_at_import(ours)
    return frozenset(name.partition(".")[0] for name in found)


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_what_decides_vectors_does_not_import_spark(path: Path) -> None:
    assert not [name for name, _ in imports_of(path) if name.partition(".")[0] == "pyspark"]
    assert "pyspark" not in loaded_at_import(path)


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_only_the_encoder_of_real_models_loads_torch(path: Path) -> None:
    if path.stem not in TORCH:
        assert not loaded_at_import(path) & HEAVY


def test_a_fake_model_works_without_spark_and_torch() -> None:
    """In a process of its own, where Spark and torch cannot be imported."""
    code = (
        "import sys\n"
        f"for name in {sorted({'pyspark', 'delta', *HEAVY})}: sys.modules[name] = None\n"
        "from udfs.models.source import describe_model\n"
        "from udfs.encoders.encoder import load_encoder\n"
        "from udfs.specs import InferenceSpec\n"
        "from udfs.encoders.token_counter import load_token_counter\n"
        "spec = InferenceSpec(model=describe_model('fake:4'))\n"
        "print(load_encoder(spec).forward(['one'])().shape, load_token_counter(spec.model, '').inputs(['one']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(1, 4) [3]\n", "")


@pytest.mark.parametrize("name", sorted(map(module_name, FILES)))
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name)


# Words that stand in one place only


def test_delta_is_known_to_few_modules() -> None:
    marks = re.compile(r"\b(?:delta\.|DeltaTable|MERGE INTO|OPTIMIZE|VACUUM|TBLPROPERTIES)")
    found = {path.stem for path in FILES if any(map(marks.search, texts_in(path)))}
    found |= {path.stem for path in FILES if any(name.split(".")[0] == "delta" for name, _ in imports_of(path))}
    found |= {path.stem for path in FILES if any("mergeInto" in name for name, _ in names_in(path))}
    # `sources` names a Delta source by its path, as it knows every other format.
    # `places` says where tables lie, `maintain_space` tidies their files, `repair` speaks of MERGE only.
    known = {"store", "places", "delta_properties", "merges", "session", "sources", "maintain_space", "repair"}
    # PostgreSQL has a VACUUM of its own.
    assert found <= known | {"postgresql_statements"}


BANNED_IMPORTS = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
BANNED_NAMES = re.compile(
    r"(?:torch\.load|np\.load|numpy\.load|os\.system|os\.popen|eval|exec|compile|__import__|print|breakpoint"
    r"|yaml\.(?:unsafe_|full_)?load(?:_all)?|importlib\.import_module)"
)


@each_file
def test_nothing_that_runs_what_it_reads(path: Path) -> None:
    assert not {name.partition(".")[0] for name, _ in imports_of(path)} & BANNED_IMPORTS
    called = [(ast.unparse(call.func), call) for call in calls_in(path)]
    found = [f"{name} in line {call.lineno}" for name, call in called if BANNED_NAMES.fullmatch(name)]
    if path.stem == "settings_values":
        # The one YAML parser of the project, with a loader stricter than the safe one.
        strict = [call for name, call in called if name == "yaml.load"]
        assert [ast.unparse(keyword.value) for call in strict for keyword in call.keywords] == ["_StrictLoader"]
        found = [mark for mark in found if not mark.startswith("yaml.load ")]
    assert not found


@each_file
def test_no_shell_and_no_code_of_a_model(path: Path) -> None:
    for call in calls_in(path):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("shell", "False") == "False", f"line {call.lineno}"
        assert given.get("trust_remote_code", "False") == "False", f"line {call.lineno}"
        if ast.unparse(call.func).endswith((".from_pretrained", "SentenceTransformer")):
            assert given.get("trust_remote_code") == "False", f"line {call.lineno} leaves it to a default"


CLASSIC_ONLY = {
    "sparkContext",
    "_jvm",
    "_jsc",
    "_jdf",
    "_jsparkSession",
    "_sc",
    "rdd",
    "toJSON",
    "broadcast",
    "accumulator",
}


@each_file
def test_only_what_spark_connect_has_too(path: Path) -> None:
    if path.stem == "session":
        return  # starts local sessions, and asks a classic one how far it is
    found = [
        f"{name} in line {line}"
        for name, line in names_in(path)
        # A hint for a join is none of Spark's broadcast variables.
        if name.rpartition(".")[2] in CLASSIC_ONLY and name != "F.broadcast"
    ]
    assert not found
    assert not {name for name, _ in imports_of(path) if name.startswith(("pyspark.rdd", "pyspark.context", "py4j"))}


# Sizes


@each_file
def test_a_file_fits_a_reader_s_head(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_FILE_LINES, f"{lines} lines, at most {MOST_FILE_LINES}"


@each_file
def test_a_function_fits_a_screen(path: Path) -> None:
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: lines_of_code(node) for node in functions}
    assert not {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES}


def lines_of_code(function: ast.FunctionDef) -> int:
    """Lines from `def` to the end; a docstring is documentation, and may be as long as it has to be."""
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    documentation = (first.end_lineno or first.lineno) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - documentation
