"""Words that belong in few modules or in none: Delta's, those that run what they read, those of classic Spark alone."""

import ast
import re
from collections.abc import Callable

import pytest

from tests.support.code_tree import Code, Module, dotted, read_code

Rule = Callable[[Code], list[str]]
CODE = read_code()

# Tables of the store, the writes to them, and their upkeep; `source` names a Delta source by its path as it names
# every other format, `diagnosis` looks at Delta itself, `faults` and `maintain_space` speak of MERGE and OPTIMIZE, and
# PostgreSQL has a VACUUM too.
DELTA = re.compile(r"\b(?:delta\.|DeltaTable|MERGE INTO|OPTIMIZE|VACUUM|TBLPROPERTIES)")
KNOW_DELTA = {
    "spark_jobs.store.tables",
    "spark_jobs.store.format",
    "spark_jobs.store.properties",
    "spark_jobs.store.faults",
    "spark_jobs.sources.source",
    "spark_jobs.embedding.merging",
    "spark_jobs.runtime.session",
    "spark_jobs.maintain_space",
    *(f"spark_jobs.diagnosis.{name}" for name in ("properties", "store_access", "versions")),
    "spark_jobs.targets.postgresql.statements",
}

UNSAFE_IMPORTS = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
UNSAFE_CALLS = re.compile(
    r"(?:torch\.load|np\.load|numpy\.load|os\.system|os\.popen|eval|exec|compile|__import__|print|breakpoint"
    r"|yaml\.(?:unsafe_|full_)?load(?:_all)?|importlib\.import_module)"
)
# The one YAML parser of the project, with a loader stricter than the safe one.
YAML_PARSER = "spark_jobs.settings.loading"

# These start sessions, ask a classic one how far it is and for its executors, cancel the jobs of one of its threads,
# and ask its Java.
KNOW_CLASSIC_SPARK = {
    *(f"spark_jobs.runtime.{name}" for name in ("executors", "session", "parallelism", "tasks", "threads")),
    "spark_jobs.diagnosis.classic",
}
CLASSIC_NAMES = {
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
CLASSIC_MODULES = ("pyspark.rdd", "pyspark.context", "py4j")


def delta_outside_its_modules(code: Code) -> list[str]:
    found = []
    for module in code:
        if module.name not in KNOW_DELTA:
            marks = [(text, line) for text, line in module.texts if DELTA.search(text)]
            marks += [(entry.module, entry.line) for entry in module.imports if entry.top == "delta"]
            marks += [(name, line) for name, line in module.names if "mergeInto" in name]
            found += [f"{module.path}:{line} says {text.strip()[:60]!r}" for text, line in marks]
    return found


def runs_what_it_reads(code: Code) -> list[str]:
    found = []
    for module in code:
        found += [f"{module.path}:{i.line} imports {i.module}" for i in module.imports if i.top in UNSAFE_IMPORTS]
        for call in module.calls:
            name = dotted(call.func)
            if UNSAFE_CALLS.fullmatch(name) and not _is_strict_yaml(module, name, call):
                found.append(f"{module.path}:{call.lineno} calls {name}")
    return found


def _is_strict_yaml(module: Module, name: str, call: ast.Call) -> bool:
    loaders = [dotted(keyword.value) for keyword in call.keywords if keyword.arg == "Loader"]
    return (module.name, name, loaders) == (YAML_PARSER, "yaml.load", ["_StrictLoader"])


def shells_and_code_of_models(code: Code) -> list[str]:
    found = []
    for module in code:
        for call in module.calls:
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            for word in ("shell", "trust_remote_code"):
                if given.get(word, "False") != "False":
                    found.append(f"{module.path}:{call.lineno} gives {word}={given[word]}")
            loads = dotted(call.func).endswith((".from_pretrained", "SentenceTransformer"))
            if loads and "trust_remote_code" not in given:
                found.append(f"{module.path}:{call.lineno} leaves trust_remote_code to its default")
    return found


def classic_spark_only(code: Code) -> list[str]:
    found = []
    for module in code:
        found += [f"{module.path}:{i.line} imports {i.module}" for i in module.imports if _is_classic(i.module)]
        if module.name not in KNOW_CLASSIC_SPARK:
            found += [
                f"{module.path}:{line} says {name}"
                for name, line in module.names
                # A hint for a join is not one of Spark's broadcast variables.
                if name.rpartition(".")[2] in CLASSIC_NAMES and name != "F.broadcast"
            ]
    return found


def _is_classic(module: str) -> bool:
    return module.startswith(CLASSIC_MODULES)


def test_delta_is_known_to_few_modules() -> None:
    assert not delta_outside_its_modules(CODE)


def test_nothing_runs_what_it_reads() -> None:
    assert not runs_what_it_reads(CODE)
    assert [name for name, _ in CODE.modules[YAML_PARSER].names].count("yaml.load") == 1


def test_no_shell_and_no_code_of_a_model() -> None:
    assert not shells_and_code_of_models(CODE)


def test_only_what_spark_connect_has_too() -> None:
    assert not classic_spark_only(CODE)


def test_every_module_with_a_right_of_its_own_exists() -> None:
    assert set(CODE.modules) >= KNOW_DELTA | KNOW_CLASSIC_SPARK | {YAML_PARSER}


# Each rule sees an offender, and nothing in a module without one.

GOOD = {
    "spark_jobs/store/tables.py": "from delta.tables import DeltaTable\nSQL = 'MERGE INTO t'",
    "spark_jobs/runtime/session.py": "slots = spark.sparkContext.defaultParallelism",
    "spark_jobs/settings/loading.py": "import yaml\nyaml.load(text, Loader=_StrictLoader)",
    "udfs/encoders/sentence.py": '"""Delta: see delta.io, OPTIMIZE."""\n'
    "# DeltaTable\nmodel = SentenceTransformer(path, trust_remote_code=False)\nprogram = re.compile(text)\n",
    "spark_jobs/search/nearest.py": "rows.join(F.broadcast(few))\nconsole.print(1)\nsubprocess.run(x, shell=False)",
}
RULES = [delta_outside_its_modules, runs_what_it_reads, shells_and_code_of_models, classic_spark_only]
OFFENDERS = [
    (delta_outside_its_modules, "\nimport delta.tables", "2 says 'delta.tables'"),
    (delta_outside_its_modules, "def f():\n    '''Doc.'''\n    sql('MERGE INTO t')", "3 says 'MERGE INTO t'"),
    (delta_outside_its_modules, "sql(f'OPTIMIZE {t}')", "1 says 'OPTIMIZE'"),
    (delta_outside_its_modules, "rows.mergeInto('t', x)", "1 says 'rows.mergeInto'"),
    (runs_what_it_reads, "def f():\n    from pickle import loads", "2 imports pickle"),
    (runs_what_it_reads, "\neval(text)", "2 calls eval"),
    (runs_what_it_reads, "torch.load(path)", "1 calls torch.load"),
    (runs_what_it_reads, "print(text)", "1 calls print"),
    (runs_what_it_reads, "yaml.load(text, Loader=_StrictLoader)", "1 calls yaml.load"),
    (runs_what_it_reads, "yaml.load_all(text)", "1 calls yaml.load_all"),
    (shells_and_code_of_models, "run(command, shell=True)", "1 gives shell=True"),
    (shells_and_code_of_models, "run(command, shell=asked)", "1 gives shell=asked"),
    (shells_and_code_of_models, "AutoModel.from_pretrained(x, trust_remote_code=y)", "1 gives trust_remote_code=y"),
    (shells_and_code_of_models, "SentenceTransformer(path)", "1 leaves trust_remote_code to its default"),
    (shells_and_code_of_models, "of(x).from_pretrained(path)", "1 leaves trust_remote_code to its default"),
    (classic_spark_only, "rows.rdd.map(f)", "1 says rows.rdd"),
    (classic_spark_only, "\nspark._jvm", "2 says spark._jvm"),
    (classic_spark_only, "of(spark).sparkContext", "1 says ().sparkContext"),
    (classic_spark_only, "spark.broadcast(x)", "1 says spark.broadcast"),
    (classic_spark_only, "from py4j.java_gateway import x", "1 imports py4j.java_gateway"),
]


@pytest.mark.parametrize("rule", RULES)
def test_modules_without_offenders_pass(rule: Rule) -> None:
    assert rule(Code(GOOD)) == []


@pytest.mark.parametrize(("rule", "source", "offender"), OFFENDERS)
def test_an_offender_is_named(rule: Rule, source: str, offender: str) -> None:
    assert f"udfs/topk.py:{offender}" in rule(Code(GOOD | {"udfs/topk.py": source}))


def test_yaml_is_parsed_by_the_strict_loader_alone() -> None:
    code = Code(GOOD | {"spark_jobs/settings/loading.py": "yaml.load(text, Loader=yaml.SafeLoader)"})
    assert runs_what_it_reads(code) == ["spark_jobs/settings/loading.py:1 calls yaml.load"]
