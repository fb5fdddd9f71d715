"""The probe needs nothing but Python, an old one too, and sees what is there and what is missing."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle

from spark_jobs.diagnosis import probe
from spark_jobs.diagnosis.machines import probe_source
from tests.support.paths import ROOT
from udfs.models.files import collect_files

REQUEST: dict[str, Any] = {"modules": ["udfs", "json", "no_such_module"], "model": None, "local_dirs": None}


def ask(request: dict[str, Any], *options: str, **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *options, "-c", probe_source()],
        input=json.dumps(request) + "\n",
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return dict(json.loads(done.stdout))


def test_it_is_written_for_old_versions_of_python() -> None:
    tree = ast.parse(probe_source(), feature_version=(3, 7))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_it_runs_where_no_package_can_be_imported() -> None:
    facts = ask(REQUEST, "-I", "-S")
    assert facts["modules"] == {"udfs": None, "json": "", "no_such_module": None}
    assert facts["python"] == list(sys.version_info[:3])
    assert facts["torch_cuda"] is None
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["ended"] >= facts["started"] > 1_700_000_000


def test_it_finds_the_code_of_embedlake_in_a_folder_and_in_a_zip_file(tmp_path: Path) -> None:
    package = tmp_path / "code" / "udfs"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text('__version__ = "9.8.7"\n')
    archive = shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path / "code")
    for path in (str(tmp_path / "code"), archive):
        assert ask({**REQUEST, "path": [path]}, "-I", "-S")["modules"]["udfs"] == "9.8.7"


def test_its_code_is_read_from_the_zip_file_of_spark_submit(tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "embedlake"), "zip", ROOT, "spark_jobs")
    code = "import spark_jobs.diagnosis.machines as m\nprint(m.__file__)\nprint(m.probe_source())"
    for name in ("udfs", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name)
    path = f"{archive}:{tmp_path}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True, cwd="/"
    )
    file, _, source = done.stdout.partition("\n")
    assert file.startswith(archive) and source.strip() == probe_source().strip()


def test_a_module_that_cannot_be_found_out_about_is_missing(tmp_path: Path) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(
        "import sys\nclass Hide:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'json.tool': raise ModuleNotFoundError(name)\nsys.meta_path.insert(0, Hide())\n"
    )
    assert ask({**REQUEST, "modules": ["json.tool"]}, PYTHONPATH=str(tmp_path))["modules"] == {"json.tool": None}


def test_the_model_has_the_files_that_a_loader_would_read(tmp_path: Path) -> None:
    for name in (
        "config.json",
        "vocab.txt",
        "README.md",
        "LICENSE.txt",
        ".hidden.json",
        "sub/a.safetensors",
        ".x/b.json",
    ):
        tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
        tmp_path.joinpath(name).write_text(name)
    found = probe.model_files(str(tmp_path))
    assert set(found) == set(collect_files(tmp_path).files) == {"config.json", "vocab.txt", "sub/a.safetensors"}
    # printf vocab.txt | sha256sum
    assert found["vocab.txt"] == "498d8476bc4811fdcc17cda8a59986beab1c20a6579b7fd1e8683b319dc3694d"


def test_a_folder_that_is_not_there_is_told_from_an_empty_one(tmp_path: Path) -> None:
    missing = ask({**REQUEST, "model": {"path": str(tmp_path / "none"), "revision": None}})
    assert missing["model"] == {"found": False, "files": {}}
    assert ask({**REQUEST, "model": {"path": str(tmp_path)}})["model"] == {"found": True, "files": {}}


def test_a_model_of_the_hub_is_looked_for_in_the_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    snapshot.joinpath("config.json").write_text("{}")
    wanted = {"path": "owner/name", "revision": "c0ffee"}
    assert list(ask({**REQUEST, "model": wanted}, HF_HUB_CACHE=str(tmp_path))["model"]["files"]) == ["config.json"]
    assert ask({**REQUEST, "model": wanted}, HF_HUB_CACHE="/none")["model"]["found"] is False


def test_torch_says_for_which_cuda_it_was_built(tmp_path: Path) -> None:
    folder = tmp_path / "torch"
    folder.mkdir()
    folder.joinpath("__init__.py").write_text("raise SystemExit('imported')")
    for line, expected in (("cuda: Optional[str] = '12.8'", "12.8"), ("cuda = '11.8'", "11.8"), ("cuda = None", "")):
        folder.joinpath("version.py").write_text(f"hip = '6.0'\n{line}\n")
        assert ask({**REQUEST, "path": [str(tmp_path)]}, "-I", "-S")["torch_cuda"] == expected


@pytest.mark.parametrize(
    ("variables", "configured", "folders"),
    [
        ({}, "/usr,/var", ["/usr", "/var"]),
        ({"SPARK_LOCAL_DIRS": "/usr"}, "/var", ["/usr"]),
        ({"LOCAL_DIRS": "/usr,/var", "SPARK_LOCAL_DIRS": "/opt"}, None, ["/usr", "/var"]),
        ({"SPARK_EXECUTOR_DIRS": "/usr:/var/none"}, None, ["/usr", "/var"]),
        ({"TMPDIR": "/var"}, None, ["/var"]),
    ],
)
def test_folders_of_shuffles_are_those_that_the_cluster_chose(
    variables: dict[str, str], configured: str | None, folders: list[str]
) -> None:
    disks = ask({**REQUEST, "local_dirs": configured}, **variables)["disks"]
    assert [disk["folder"] for disk in disks] == folders
    assert all(disk["free"] > 0 for disk in disks)


def test_the_executor_is_known_by_the_command_of_its_java(tmp_path: Path) -> None:
    script = 'exec -a java sh -c \'"$0" -c "$1"; exit $?\' "$0" "$1" --executor-id 7 --cores 3'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, probe_source()],
        input=json.dumps(REQUEST) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout)
    assert (facts["executor"], facts["executor_cores"]) == ("7", 3)


def test_a_folder_of_the_store_is_seen_or_not(tmp_path: Path) -> None:
    assert ask(REQUEST)["store_seen"] is None
    assert ask({**REQUEST, "store_folder": str(tmp_path)})["store_seen"] is True
    assert ask({**REQUEST, "store_folder": str(tmp_path / "none")})["store_seen"] is False


def test_its_code_can_be_sent_to_workers_that_lack_embedlake() -> None:
    cloudpickle.register_pickle_by_value(probe)
    try:
        sent = cloudpickle.dumps(probe.answer)
    finally:
        cloudpickle.unregister_pickle_by_value(probe)
    code = (
        "import sys, json\nfor name in ('spark_jobs', 'udfs', 'schemas'): sys.modules[name] = None\n"
        "from pyspark import cloudpickle\n"
        f"print(cloudpickle.loads({sent!r})({json.dumps(REQUEST)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(done.stdout)["modules"]["json"] == ""
