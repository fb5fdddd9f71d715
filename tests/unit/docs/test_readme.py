"""README and the pages of docs/ agree with the code: settings, commands, exit codes, addresses, columns, figures."""

import importlib
import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel
from typer.main import get_command

from schemas.errors import (
    CapReachedError,
    GateError,
    InputError,
    QuarantineLimitError,
    ReconciliationError,
    RunActiveError,
    SourceError,
    StoppedError,
)
from schemas.reasons import REASONS
from schemas.vectors import HEADINGS, PAGE_FIELDS, vectors_table
from spark_jobs.cli import app
from spark_jobs.settings import Settings, as_settings
from spark_jobs.targets.address import FORMS, parse_address
from tests.support.paths import ROOT

# What users read, and what contributors read beside it.
PAGES = [ROOT / "README.md", *sorted(ROOT.joinpath("docs").glob("*.md"))]
EVERY_PAGE = [
    *PAGES,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "conf/README.md")),
]
TEXT = {page: page.read_text(encoding="utf-8") for page in EVERY_PAGE}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RESULTS = ROOT / "tests" / "benchmarks" / "results"

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
FOLDERS = ("schemas", "udfs", "spark_jobs", "conf", "docs", "notebooks", "quickstart", "tests")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_page_of_all = pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)


def tables(first: str) -> list[list[list[str]]]:
    """The rows of each table of the pages whose header begins with a cell."""
    found = []
    for page in PAGES:
        for table in f"\n{TEXT[page]}".split(f"\n| {first} |")[1:]:
            lines = [line for line in table.split("\n\n", 1)[0].splitlines()[2:] if line.startswith("|")]
            found.append([[cell.strip() for cell in line.strip("|").split("|")] for line in lines])
    return found


def table_rows(first: str) -> list[list[str]]:
    (rows,) = tables(first)
    return rows


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", TEXT[page], re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each command that a page shows in a block of its own."""
    for line in re.findall(r"^ {4,}((?:make|embedlake|spark-submit|pip) .*)$", TEXT[page], re.MULTILINE):
        yield shlex.split(line, comments=True)


def code_spans(page: Path) -> list[str]:
    prose = re.sub(r"^ *```.*?^ *```$", "", TEXT[page], flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose)


def known_settings(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if field.exclude:
            # Follows from another setting.
            continue
        key = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= known_settings(field.annotation, key + ".")
        else:
            found[key] = field.default
    return found


# Settings


def test_the_table_names_every_setting_and_no_other() -> None:
    named = {key for row in table_rows("setting") for key in re.findall(r"`([a-z_.]+)`", row[0])}
    named |= {"store.catalog", "store.schema"}  # named in the text of store.path
    assert named == set(known_settings(Settings))


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("run.slice_tokens", "`auto`"),
        ("run.slice_rows", "500,000"),
        ("run.slice_seconds", "600"),
        ("run.stale_after_seconds", "3,600"),
        ("run.memory_tokens", "250,000"),
        ("run.full_check_every", "20"),
        ("run.max_attempts", "3"),
        ("run.on_failed_update", "`keep`"),
        ("maintenance.file_megabytes", "256"),
        ("maintenance.retention_hours", "168"),
        ("follow.poll_seconds", "30"),
        ("run.max_quarantined_fraction", "0.01"),
        ("run.max_removed_fraction", "0.3"),
        ("source.track", "`auto`"),
        ("model.dtype", "`auto`"),
        ("model.precision", "`float32`"),
        ("chunking.method", "`structure`"),
        ("inference.device", "`auto`"),
        ("inference.token_budget", "`auto`"),
        ("inference.backend", "`auto`"),
        ("inference.resource_profile", "`auto`"),
        ("store.vector_encoding", "`byte_stream_split`"),
    ],
)
def test_documented_defaults_match_the_code(key: str, default: str) -> None:
    (row,) = [row for row in table_rows("setting") if f"`{key}`" in row[0]]
    assert row[1] == default
    value = known_settings(Settings)[key]
    assert default.strip("`") == (f"{value:,}" if isinstance(value, int) else str(value))


@each_page_of_all
def test_settings_named_in_the_text_exist(page: Path) -> None:
    known = set(known_settings(Settings))
    sections = {key.partition(".")[0] for key in known if "." in key}
    named = {span.partition(":")[0].partition("=")[0] for span in code_spans(page)}
    named = {name for name in named if re.fullmatch(rf"(?:{'|'.join(sections)})\.[a-z_]+", name)}
    # Spark's own begin with one of our sections.
    assert {name for name in named if not name.startswith("spark.")} <= known


def test_the_shortest_settings_are_accepted() -> None:
    (block,) = blocks(ROOT / "README.md", "yaml")
    assert as_settings(yaml.safe_load(block)).library == "handbook"


@each_page
def test_every_yaml_block_is_accepted_as_settings(page: Path) -> None:
    """A block may show some sections only; the README's shortest settings have the others."""
    (shortest,) = blocks(ROOT / "README.md", "yaml")
    for block in blocks(page, "yaml"):
        as_settings({**yaml.safe_load(shortest), **yaml.safe_load(block)})


# Commands


def test_documented_commands_and_options_match_the_code() -> None:
    named = [row[0].strip("`").removeprefix("embedlake ") for row in table_rows("command")]
    assert sorted(named) == sorted(name for name, command in COMMANDS.items() if not command.hidden)
    options = {row[0].strip("`") for row in table_rows("option of `embed`")}
    known = {option for parameter in COMMANDS["embed"].params for option in parameter.opts}
    assert options == known - {"--config", "--set", "--debug", "--log-format"}


def parse_command(command: Any, words: list[str]) -> None:
    command.make_context(command.name, list(words))


@each_page
def test_every_command_line_parses(page: Path) -> None:
    for first, *words in command_lines(page):
        if first == "embedlake":
            parse_command(COMMANDS[words[0]], words[1:])
        elif first == "spark-submit":
            at = next(number for number, word in enumerate(words) if word.endswith(".py"))
            script = ROOT / words[at]
            assert script.is_file(), words[at]
            job = typer.Typer()
            job.command()(importlib.import_module(f"spark_jobs.{script.stem}").command)
            parse_command(get_command(job), words[at + 1 :])
            given = dict(zip(words[:at:2], words[1:at:2], strict=True))
            assert (
                given["--py-files"] == "dist/embedlake.zip" and "cp dist/embedlake-*.whl dist/embedlake.zip" in MAKEFILE
            )
            assert (ROOT / given["--properties-file"]).is_file()


def test_a_command_line_that_does_not_parse_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option: --no-such-option"):
        parse_command(COMMANDS["embed"], ["--config", "settings.yaml", "--no-such-option"])


@each_page_of_all
def test_commands_and_options_named_in_the_text_exist(page: Path) -> None:
    anywhere = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    anywhere |= {"--help", "--version"}
    for span in code_spans(page):
        words = span.split()
        if words[0] == "embedlake" and len(words) > 1 and not words[1].startswith("-"):
            own = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts}
            assert {word for word in words[2:] if word.startswith("-")} <= own, span
        elif words[0].startswith("--") and page in PAGES:
            assert words[0] in anywhere, span


@each_page_of_all
def test_every_make_target_exists(page: Path) -> None:
    lines = [*code_spans(page), *re.findall(r"^ {4,}(make .*)$", TEXT[page], re.MULTILINE)]
    named = {found[1] for line in lines if (found := re.match(r"make ([a-z0-9-]+)", line))}
    assert not {target for target in named if f"\n{target}:" not in MAKEFILE}


@each_page_of_all
def test_every_extra_is_one_of_the_package_s(page: Path) -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = set(re.findall(r'^ {8}"([a-z]+)": \[', setup, re.MULTILINE))
    assert "spark" in extras
    assert set(re.findall(r"(?:embedlake|\.whl)\[([a-z]+)\]", TEXT[page])) <= extras


# Codes, reasons, targets, columns


def test_documented_exit_codes_match_the_errors() -> None:
    codes = {code for row in table_rows("exit code") for code in row[0].split(", ")}
    errors = (InputError, QuarantineLimitError, RunActiveError, SourceError, ReconciliationError, GateError)
    errors += (CapReachedError,)
    stopped = {StoppedError(number).exit_code for number in (signal.SIGINT, signal.SIGTERM)}
    assert codes == {"0", "1", *map(str, {error.exit_code for error in errors} | stopped)}


def test_documented_quarantine_reasons_match_the_code() -> None:
    assert [row[0].strip("`") for row in table_rows("reason")] == list(REASONS)


def test_documented_targets_match_the_code() -> None:
    assert [row[0].strip("`") for row in table_rows("`--to`")] == list(FORMS)


@each_page
def test_every_address_of_a_target_is_accepted(page: Path) -> None:
    for words in command_lines(page):
        if "--to" in words:
            parse_address(words[words.index("--to") + 1])


def test_documented_columns_match_the_table() -> None:
    named = [name for row in table_rows("column of `vectors`") for name in re.findall(r"`([a-z_]+)`", row[0])]
    # Only some spaces have these two, which stand elsewhere in the table.
    whole = vectors_table(optional=[HEADINGS, *PAGE_FIELDS]).schema.names
    assert sorted(named) == sorted(whole)


# Links and names


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", TEXT[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page_of_all
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page_of_all
def test_every_path_exists(page: Path) -> None:
    spans = [word for span in code_spans(page) for word in span.split()]
    paths = {word for word in spans if word.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    missing = {path for path in paths if not list(ROOT.glob(re.sub(r"<\w+>", "*", path.rstrip("/"))))}
    assert not missing
    # Contributors are told which test to look at by the name of its file.
    tests = {word for word in spans if re.fullmatch(r"test_\w+\.py", word)}
    assert not {name for name in tests if not list(ROOT.joinpath("tests").rglob(name))}


@each_page_of_all
def test_every_module_and_what_is_named_of_it_exists(page: Path) -> None:
    for name in re.findall(r"`((?:schemas|udfs|spark_jobs)(?:\.\w+)+)", TEXT[page]):
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            try:
                found: Any = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            for part in parts[length:]:
                found = getattr(found, part)
            break


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_name_of_the_code_exists(name: str) -> None:
    """Functions, classes and constants by their bare names; those of Spark and Delta appear in the code too."""
    files = [path for folder in (*FOLDERS[:3], "tests") for path in ROOT.joinpath(folder).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__))
    spans = {
        found[1] for span in code_spans(ROOT / name) if (found := re.fullmatch(r"(_?[A-Za-z]\w+)(?:\(.*\))?", span))
    }
    marked = {word for word in spans if "_" in word or (word != word.lower() and word != word.upper())}
    assert marked
    assert not {word for word in marked if not re.search(rf"\b{word}\b", code)}


def test_the_tree_of_folders_is_complete() -> None:
    tree = TEXT[ROOT / "ARCHITECTURE.md"].split("```")[1]
    named, folders = set(), [""]
    for indent, name in re.findall(r"^( *)([a-z_]+)/ ", tree, re.MULTILINE):
        folders[len(indent) // 2 :] = [name]
        named.add("/".join(folders))
    packages = {path.parent for folder in FOLDERS[:3] for path in ROOT.joinpath(folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)) for path in packages} <= named
    assert not {name for name in named if not ROOT.joinpath(name).is_dir()}


# Figures

ENGINE = ("encode", "encode tuned", "engine, torch", "engine, openvino", "engine, torch bf16", "engine, openvino bf16")
GPU = (
    "encode, as written",
    "encode, tuned",
    "embedlake, float32",
    "embedlake, dtype auto",
    "forward passes alone, dtype auto",
)
JOBS = ("as written", "by cores", "tuned", "openvino", "openvino dtype auto")
WHOLE = (
    "textbook by cores",
    *(f"embedlake {dtype}, {cache} cache" for dtype in ("float32", "dtype auto") for cache in ("cold", "warm")),
)


@pytest.mark.parametrize(
    ("heading", "file"),
    [("AMD EPYC", "bench-amd-epyc.json"), ("Intel Xeon with AMX", "bench-intel-xeon-processor.json")],
)
def test_figures_are_those_of_the_committed_results(heading: str, file: str) -> None:
    results = json.loads((RESULTS / file).read_text(encoding="utf-8"))
    engine, jobs = (results[part]["figures"] for part in ("engine", "job"))
    by_engine, by_job, *whole = tables(heading)
    assert [row[1:] for row in by_engine] == [
        [
            f"{engine[f'{texts} {name} {what}']:.1f}"
            for texts in ("mixed", "short")
            for what in ("texts/s", f"of {ENGINE[0]}")
        ]
        for name in ENGINE
    ]
    names = [f"embedlake {name}" if "openvino" in name else f"textbook {name}" for name in JOBS]
    seconds = [jobs[f"{name} seconds"][0] for name in names]
    of_cores = jobs["textbook by cores seconds"][0]
    assert [row[1:] for row in by_job] == [[f"{found:.0f}", f"{of_cores / found:.1f}"] for found in seconds]
    for rows in whole:
        taken = [median(results["tutorial"]["figures"][f"{name}, seconds"]) for name in WHOLE]
        assert [row[1:] for row in rows] == [[f"{found:.0f}", f"{taken[0] / found:.1f}"] for found in taken]


def test_figures_of_a_gpu_are_those_of_the_committed_results() -> None:
    results = json.loads((RESULTS / "gpu-nvidia-h100-80gb-hbm3.json").read_text(encoding="utf-8"))
    models = [results[part]["figures"] for part in ("all-MiniLM-L6-v2", "BERT-large, random weights")]
    expected = []
    for name in GPU:
        rates = [figures[f"{name}: tokens/s"] for figures in models]
        ratios = [rate / figures["encode, as written: tokens/s"] for rate, figures in zip(rates, models, strict=True)]
        expected.append(
            [cell for rate, of in zip(rates, ratios, strict=True) for cell in (f"{rate / 1000:,.0f}", f"{of:.1f}")]
        )
    assert [row[1:] for row in table_rows("NVIDIA H100")] == expected
