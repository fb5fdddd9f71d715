"""The shape of a job: `run` and `command`, started by `typer.run(command)`, apart from every other job."""

import ast
from collections.abc import Callable

import pytest

from tests.support.code_tree import Code, Module, dotted, read_code

Rule = Callable[[Code], list[str]]
CODE = read_code()
JOBS = {
    "embed_library",
    "plan_library",
    "follow_library",
    "search_library",
    "evaluate_library",
    "export_library",
    "verify_space",
    "maintain_space",
    "show_status",
    "list_quarantine",
    "list_spaces",
    "compare_spaces",
    "promote_space",
    "rollback_space",
    "drop_space",
    "calibrate_inference",
    "report_library",
    "check_platform",
}
ENDING = "if __name__ == '__main__':\n    typer.run(command)"
GIVEN_TO_WORKERS = {"mapInArrow", "mapInPandas", "applyInPandas", "applyInArrow", "udf", "pandas_udf", "udtf"}


def jobs_of(code: Code) -> list[Module]:
    return [module for module in code if module.folder == "jobs"]


def without_the_ending(code: Code) -> list[str]:
    endings = {job.path: ast.unparse(job.tree.body[-1]) if job.tree.body else "" for job in jobs_of(code)}
    return [f"{path} does not end in typer.run(command)" for path, ending in endings.items() if ending != ENDING]


def without_run_or_command(code: Code) -> list[str]:
    found = []
    for job in jobs_of(code):
        functions = {node.name: node for node in job.tree.body if isinstance(node, ast.FunctionDef)}
        found += [f"{job.path} has no {name}" for name in ("run", "command") if name not in functions]
        if "run" in functions:
            first = [argument.arg for argument in functions["run"].args.args[:2]]
            if first != ["spark", "settings"]:
                found.append(f"{job.path}:{functions['run'].lineno} run does not begin with spark, settings")
    return found


def jobs_that_import_jobs(code: Code) -> list[str]:
    return [
        f"{job.path}:{entry.line} imports {other.name}"
        for job in jobs_of(code)
        for other, entry in code.arrows(job)
        if other.folder in ("jobs", "cli")
    ]


def jobs_that_cli_forgets(code: Code) -> list[str]:
    known = {other.name for other, _ in code.arrows(code.modules["spark_jobs.cli"])}
    return [f"{job.path} is not imported by cli.py" for job in jobs_of(code) if job.name not in known]


def functions_for_workers(code: Code) -> list[str]:
    """A function of a started file is `__main__`'s, and no worker finds it there."""
    found = []
    for job in jobs_of(code):
        own = {function.name for function in job.functions}
        for call in job.calls:
            given = [dotted(value.func if isinstance(value, ast.Call) else value) for value in call.args]
            is_for_workers = dotted(call.func).rpartition(".")[2] in GIVEN_TO_WORKERS
            if is_for_workers and (own & set(given) or any(isinstance(value, ast.Lambda) for value in call.args)):
                found.append(f"{job.path}:{call.lineno} gives a function of its own to workers")
        for function in job.functions:
            names = {dotted(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list}
            if {name.rpartition(".")[2] for name in names} & GIVEN_TO_WORKERS:
                found.append(f"{job.path}:{function.lineno} gives a function of its own to workers")
    return found


def test_the_jobs_are_found() -> None:
    assert {job.path for job in jobs_of(CODE)} == {f"spark_jobs/{name}.py" for name in JOBS}


def test_every_job_ends_in_typer_run() -> None:
    assert not without_the_ending(CODE)


def test_every_job_has_run_and_command() -> None:
    assert not without_run_or_command(CODE)


def test_no_job_imports_another() -> None:
    assert not jobs_that_import_jobs(CODE)


def test_cli_imports_every_job() -> None:
    assert not jobs_that_cli_forgets(CODE)


def test_no_job_holds_a_function_for_workers() -> None:
    assert not functions_for_workers(CODE)


# Each rule sees an offender, and nothing in a tree without one.

JOB = "def run(spark, settings, *, k):\n    pass\n\ndef command(config):\n    pass\n\n"
START = 'if __name__ == "__main__":\n    typer.run(command)\n'
GOOD = {
    "spark_jobs/__init__.py": "",
    "spark_jobs/cli.py": "from spark_jobs import embed_library, show_status",
    "spark_jobs/embed_library.py": JOB + START,
    "spark_jobs/show_status.py": JOB + "rows.mapInArrow(embed_arrow(spec), schema)\n" + START,
    "spark_jobs/store/tables.py": "x = 1",
}
RULES = [
    without_the_ending,
    without_run_or_command,
    jobs_that_import_jobs,
    jobs_that_cli_forgets,
    functions_for_workers,
]
SHOW = "spark_jobs/show_status.py"
OFFENDERS = [
    (without_the_ending, JOB, " does not end in typer.run(command)"),
    (without_the_ending, "", " does not end in typer.run(command)"),
    (without_the_ending, JOB + START + "x = 1", " does not end in typer.run(command)"),
    (without_the_ending, JOB + START.replace("command", "run"), " does not end in typer.run(command)"),
    (without_run_or_command, JOB.replace("def command", "def start") + START, " has no command"),
    (without_run_or_command, JOB.replace("def run", "def start") + START, " has no run"),
    (without_run_or_command, JOB.replace("spark, ", ""), ":1 run does not begin with spark, settings"),
    (jobs_that_import_jobs, "from spark_jobs import embed_library", ":1 imports spark_jobs.embed_library"),
    (jobs_that_import_jobs, "def f():\n    from spark_jobs.cli import app", ":2 imports spark_jobs.cli"),
    (functions_for_workers, JOB + "rows.mapInArrow(run, s)", ":7 gives a function of its own to workers"),
    (functions_for_workers, JOB + "rows.mapInArrow(run(1), s)", ":7 gives a function of its own to workers"),
    (functions_for_workers, "F.udf(lambda x: x)", ":1 gives a function of its own to workers"),
    (functions_for_workers, "@F.udf('int')\ndef f(x):\n    pass", ":2 gives a function of its own to workers"),
]


@pytest.mark.parametrize("rule", RULES)
def test_jobs_without_offenders_pass(rule: Rule) -> None:
    assert rule(Code(GOOD)) == []


@pytest.mark.parametrize(("rule", "source", "offender"), OFFENDERS)
def test_an_offender_is_named(rule: Rule, source: str, offender: str) -> None:
    assert rule(Code(GOOD | {SHOW: source})) == [SHOW + offender]


def test_a_job_that_cli_forgets_is_named() -> None:
    assert jobs_that_cli_forgets(
        Code(GOOD | {"spark_jobs/cli.py": "from spark_jobs.embed_library import command"})
    ) == [f"{SHOW} is not imported by cli.py"]
