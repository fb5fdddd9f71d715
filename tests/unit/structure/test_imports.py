"""Who may import whom: the arrows between folders, no circle of modules, Spark and torch behind their walls."""

import importlib
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.code_tree import PACKAGES, SKINS, Code, read_code
from tests.support.paths import ROOT

Rule = Callable[[Code], list[str]]
CODE = read_code()
NOT_SHIPPED = {"conf", "tests", "quickstart", "notebooks"}

BELOW_JOBS = {
    "schemas",
    "udfs",
    "udfs/models",
    "udfs/parsing",
    "udfs/chunking",
    "udfs/encoders",
    "udfs/inference",
    "udfs skins",
}
BELOW_RUNTIME = BELOW_JOBS | {"spark_jobs", "settings"}
BELOW_STORE = BELOW_RUNTIME | {"runtime"}
BELOW_USE = BELOW_STORE | {"store"}
# Each folder and those it may import beside itself. "jobs" are the files at the top of spark_jobs.
ARROWS = {
    "schemas": set(),
    "udfs": {"schemas"},
    "udfs/models": {"schemas", "udfs"},
    "udfs/chunking": {"schemas", "udfs"},
    "udfs/parsing": {"schemas", "udfs"},
    "udfs/encoders": {"schemas", "udfs", "udfs/models", "udfs/chunking"},
    "udfs/inference": {"schemas", "udfs", "udfs/models", "udfs/chunking", "udfs/encoders"},
    "udfs skins": BELOW_JOBS - {"udfs skins"},
    "spark_jobs": {"udfs"},
    "settings": BELOW_JOBS,
    "runtime": BELOW_RUNTIME,
    "store": BELOW_STORE,
    "sources": BELOW_STORE,
    "embedding": BELOW_USE | {"sources"},
    "search": BELOW_USE,
    "evaluation": BELOW_USE | {"search"},
    "export": BELOW_USE | {"search", "targets"},
    "page": BELOW_USE,
    "targets": {"schemas"},
    "targets/postgresql": {"schemas", "targets"},
    "diagnosis": BELOW_USE,
    "jobs": BELOW_USE | {"sources", "embedding", "search", "evaluation", "export", "page", "diagnosis"},
    "cli": {"jobs", "runtime", "spark_jobs", "udfs"},
}
# Single modules that may import one folder more.
OF_ONE_MODULE = {"spark_jobs.export_library": "targets", "spark_jobs.targets.factory": "targets/postgresql"}
# The one folder that imports its parent and is imported by it; only in a function, so that neither needs the other
# to be loaded.
ONLY_LAZILY = {"spark_jobs.targets.factory": "targets/postgresql"}

# What the encoder of real models is made of. Nothing else loads these libraries before it is asked for vectors.
HEAVY = {"torch", "transformers", "sentence_transformers", "huggingface_hub"}
TORCH = {
    f"udfs.encoders.{name}"
    for name in ("sentence", "conversion", "loading", "model_inputs", "packed_linear", "unpadded")
}


def wrong_arrows(code: Code) -> list[str]:
    found = []
    for module in code:
        if module.folder not in ARROWS:
            found.append(f"{module.path}:1 lies in {module.folder}, which the table of arrows does not know")
            continue
        allowed = ARROWS[module.folder] | {module.folder, OF_ONE_MODULE.get(module.name, "")}
        for other, entry in code.arrows(module):
            if other.folder not in allowed:
                found.append(f"{module.path}:{entry.line} imports {other.name}, of {other.folder}")
            elif other.folder == ONLY_LAZILY.get(module.name) and not entry.lazy:
                found.append(f"{module.path}:{entry.line} imports {other.name} while it is loaded")
    return found


def imports_of_what_is_not_shipped(code: Code) -> list[str]:
    return [f"{m.path}:{i.line} imports {i.module}" for m in code for i in m.imports if i.top in NOT_SHIPPED]


def circles(code: Code) -> list[str]:
    """Groups of modules that import one another, each once, with every arrow inside it. Lazy imports count too."""
    arrows = {m.name: [(other.name, entry.line) for other, entry in code.arrows(m)] for m in code}
    reached = {name: _reached(name, arrows) for name in arrows}
    groups = {frozenset(o for o in reached[name] if name in reached[o]) for name in arrows} - {frozenset()}
    return [
        f"{code.modules[name].path}:{line} imports {other}"
        for group in sorted(groups, key=sorted)
        for name in sorted(group)
        for other, line in arrows[name]
        if other in group
    ]


def _reached(name: str, arrows: dict[str, list[tuple[str, int]]]) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = {other for other, _ in arrows[waiting.pop()]} - seen
        seen |= new
        waiting += new
    return seen


def relative_and_starred(code: Code) -> list[str]:
    # spark-submit runs a file without its package, where a relative import finds nothing.
    return [f"{m.path}:{i.line} is relative" for m in code for i in m.imports if i.level] + [
        f"{m.path}:{i.line} imports *" for m in code for i in m.imports if i.name == "*"
    ]


def without_package(code: Code) -> list[str]:
    # `import settings` would work where spark-submit puts spark_jobs/ itself on the path, and nowhere else.
    at_top = {module.name.split(".")[1] for module in code if module.name not in PACKAGES}
    found = []
    for module in code:
        parent, _, own = module.name.rpartition(".")
        siblings = {name.rpartition(".")[2] for name in code.modules if name.rpartition(".")[0] == parent}
        # A module may have the name of the library that it wraps.
        ours = (at_top | siblings) - {own} - set(PACKAGES)
        found += [f"{module.path}:{i.line} imports {i.module}" for i in module.imports if not i.level and i.top in ours]
    return found


def spark_where_there_is_none(code: Code) -> list[str]:
    """What decides vectors works without Spark, and targets do: neither imports it, nor loads what imports it."""
    found = []
    for module in code:
        plain = module.name.partition(".")[0] == "udfs" and module.name not in SKINS
        if plain or module.folder.startswith("targets"):
            lines = [f"{module.path}:{i.line} imports {i.module}" for i in module.imports if i.top == "pyspark"]
            if not lines and "pyspark" in code.loaded_with(module.name):
                lines = [f"{module.path}:1 loads pyspark by what it imports"]
            found += lines
    return found


def torch_where_there_is_none(code: Code) -> list[str]:
    return [
        f"{module.path}:1 loads {name}"
        for module in code
        if module.name not in TORCH
        for name in sorted(code.loaded_with(module.name) & HEAVY)
    ]


def test_the_code_is_found() -> None:
    assert {module.folder for module in CODE} == set(ARROWS)
    assert set(CODE.modules) >= {*SKINS, *TORCH, *OF_ONE_MODULE, *ONLY_LAZILY}
    assert len(CODE.modules) > 100


def test_folders_import_only_what_lies_below_them() -> None:
    assert not wrong_arrows(CODE)


def test_nothing_imports_what_is_not_shipped() -> None:
    assert not imports_of_what_is_not_shipped(CODE)


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert not circles(CODE)


def test_imports_are_absolute_and_name_what_they_import() -> None:
    assert not relative_and_starred(CODE)


def test_no_module_of_ours_is_imported_without_its_package() -> None:
    assert not without_package(CODE)


def test_vectors_and_targets_do_not_need_spark() -> None:
    assert not spark_where_there_is_none(CODE)


def test_only_the_encoder_of_real_models_loads_torch() -> None:
    assert not torch_where_there_is_none(CODE)


def test_every_module_imports() -> None:
    broken = []
    for name, module in CODE.modules.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            broken.append(f"{module.path}: {error}")
    assert not broken


def test_a_fake_model_works_where_spark_and_torch_cannot_be_imported() -> None:
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


# Each rule sees an offender, and nothing in a tree without one.

GOOD = {
    "schemas/__init__.py": "",
    "schemas/errors.py": "import typing",
    "schemas/vectors.py": "from pyspark.sql.types import StructType",
    "udfs/__init__.py": "",
    "udfs/specs.py": "from schemas.errors import InputError",
    "udfs/embed.py": "import pyspark\nfrom udfs.inference.engine import embed_texts",
    "udfs/models/__init__.py": "",
    "udfs/models/source.py": "from udfs.specs import ModelSpec\ndef f():\n    import huggingface_hub",
    "udfs/encoders/__init__.py": "",
    "udfs/encoders/encoder.py": "def f():\n    from udfs.encoders.sentence import SentenceEncoder",
    "udfs/encoders/openvino.py": "import openvino",
    "udfs/encoders/sentence.py": "import torch\nfrom udfs.encoders.openvino import Forward",
    "udfs/inference/__init__.py": "",
    "udfs/inference/engine.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    "from udfs.encoders.encoder import Encoder",
    "spark_jobs/__init__.py": "",
    "spark_jobs/cli.py": "from spark_jobs import export_library",
    "spark_jobs/export_library.py": "from spark_jobs.targets.factory import open_target\nfrom spark_jobs import store",
    "spark_jobs/embed_library.py": "from spark_jobs.store import read_vectors",
    "spark_jobs/store/__init__.py": "from spark_jobs.store.tables import read_vectors",
    "spark_jobs/store/tables.py": "import delta\nfrom schemas import vectors",
    "spark_jobs/search/__init__.py": "",
    "spark_jobs/search/nearest.py": "from spark_jobs.store import tables\nimport udfs.embed",
    "spark_jobs/embedding/__init__.py": "",
    "spark_jobs/embedding/run.py": "import spark_jobs.store.tables",
    "spark_jobs/targets/__init__.py": "",
    "spark_jobs/targets/target.py": "from schemas.errors import InputError",
    "spark_jobs/targets/factory.py": "def f():\n    from spark_jobs.targets.postgresql.target import Target",
    "spark_jobs/targets/postgresql/__init__.py": "",
    "spark_jobs/targets/postgresql/target.py": "from spark_jobs.targets.target import Target",
}
RULES = [
    wrong_arrows,
    imports_of_what_is_not_shipped,
    circles,
    relative_and_starred,
    without_package,
    spark_where_there_is_none,
    torch_where_there_is_none,
]


@pytest.mark.parametrize("rule", RULES)
def test_a_tree_without_offenders_passes(rule: Rule) -> None:
    assert rule(Code(GOOD)) == []


@pytest.mark.parametrize(
    ("rule", "path", "source", "offenders"),
    [
        (
            wrong_arrows,
            "spark_jobs/store/locks.py",
            "\nimport spark_jobs.search.nearest",
            ["2 imports spark_jobs.search.nearest, of search"],
        ),
        (
            wrong_arrows,
            "spark_jobs/search/hits.py",
            "def f():\n    from spark_jobs.embedding import run",
            ["2 imports spark_jobs.embedding.run, of embedding"],
        ),
        (
            wrong_arrows,
            "spark_jobs/embed_library.py",
            "from spark_jobs.targets.factory import x",
            ["1 imports spark_jobs.targets.factory, of targets"],
        ),
        (wrong_arrows, "spark_jobs/targets/rows.py", "from udfs.specs import x", ["1 imports udfs.specs, of udfs"]),
        (
            wrong_arrows,
            "spark_jobs/targets/rows.py",
            "import spark_jobs.targets.postgresql.target",
            ["1 imports spark_jobs.targets.postgresql.target, of targets/postgresql"],
        ),
        (
            wrong_arrows,
            "spark_jobs/targets/factory.py",
            "from spark_jobs.targets.postgresql import target",
            ["1 imports spark_jobs.targets.postgresql.target while it is loaded"],
        ),
        (
            wrong_arrows,
            "udfs/models/source.py",
            "import udfs.encoders.encoder",
            ["1 imports udfs.encoders.encoder, of udfs/encoders"],
        ),
        (wrong_arrows, "udfs/inference/engine.py", "from udfs import embed", ["1 imports udfs.embed, of udfs skins"]),
        (wrong_arrows, "schemas/errors.py", "import udfs.specs", ["1 imports udfs.specs, of udfs"]),
        (wrong_arrows, "udfs/specs.py", "from spark_jobs import store", ["1 imports spark_jobs.store, of store"]),
        (wrong_arrows, "spark_jobs/helpers/x.py", "", ["1 lies in helpers, which the table of arrows does not know"]),
        (
            imports_of_what_is_not_shipped,
            "udfs/specs.py",
            "def f():\n    from tests.support import x",
            ["2 imports tests.support"],
        ),
        (relative_and_starred, "udfs/specs.py", "from . import worker", ["1 is relative"]),
        (relative_and_starred, "udfs/specs.py", "from schemas.errors import *", ["1 imports *"]),
        (without_package, "spark_jobs/embedding/run.py", "import store", ["1 imports store"]),
        (without_package, "spark_jobs/search/nearest.py", "from cli import app", ["1 imports cli"]),
        (without_package, "spark_jobs/targets/rows.py", "def f():\n    import factory", ["2 imports factory"]),
        (spark_where_there_is_none, "udfs/specs.py", "def f():\n    import pyspark.sql", ["2 imports pyspark.sql"]),
        (
            spark_where_there_is_none,
            "udfs/specs.py",
            "try:\n    from schemas.vectors import x\nfinally:\n    pass",
            ["1 loads pyspark by what it imports"],
        ),
        (
            spark_where_there_is_none,
            "udfs/models/__init__.py",
            "import schemas.vectors",
            ["1 loads pyspark by what it imports"],
        ),
        (spark_where_there_is_none, "spark_jobs/targets/target.py", "import pyspark", ["1 imports pyspark"]),
        (torch_where_there_is_none, "spark_jobs/search/nearest.py", "import torch.nn", ["1 loads torch"]),
        (torch_where_there_is_none, "udfs/specs.py", "from transformers import x", ["1 loads transformers"]),
    ],
)
def test_an_offender_is_named(rule: Rule, path: str, source: str, offenders: list[str]) -> None:
    assert [line for line in rule(Code(GOOD | {path: source})) if line.startswith(f"{path}:")] == [
        f"{path}:{offender}" for offender in offenders
    ]


def test_every_arrow_of_a_circle_is_named() -> None:
    code = Code(
        GOOD
        | {
            "spark_jobs/store/locks.py": "from spark_jobs.store import fence",
            "spark_jobs/store/fence.py": "def f():\n    from spark_jobs.store.locks import x",
            "spark_jobs/store/spaces.py": "from spark_jobs.store import fence",
        }
    )
    assert circles(code) == [
        "spark_jobs/store/fence.py:2 imports spark_jobs.store.locks",
        "spark_jobs/store/locks.py:1 imports spark_jobs.store.fence",
    ]


def test_a_package_that_hands_on_a_module_which_imports_the_package_is_a_circle() -> None:
    code = Code(GOOD | {"spark_jobs/store/tables.py": "from spark_jobs.store import read_vectors"})
    assert circles(code) == [
        "spark_jobs/store/__init__.py:1 imports spark_jobs.store.tables",
        "spark_jobs/store/tables.py:1 imports spark_jobs.store",
    ]
