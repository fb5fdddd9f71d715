"""The model on the driver and on executors."""

from dataclasses import replace
from pathlib import Path

import pytest

from spark_jobs.diagnosis.findings import Finding
from spark_jobs.diagnosis.machines import Machine
from spark_jobs.diagnosis.model import ModelFacts, find_model, judge_model
from tests.support.machines import DRIVER, SOUND, two
from tests.support.template import settings_of

MODEL = ModelFacts(path="/models/x", digest="0123456789abcdef", dimension=384, weight_bytes=90)
OTHER = {**SOUND.model_files, "config.json": "ff"}


def judge(model: ModelFacts, machines: list[Machine], driver: Machine = DRIVER) -> list[tuple[str, str]]:
    found: list[Finding] = judge_model(model, driver, machines)
    return [(each.level, each.cause) for each in found]


def test_the_same_everywhere() -> None:
    told = "/models/x has 384 dimensions and digest 0123456789ab, the same on 2 executors."
    assert judge(MODEL, two()) == [("ok", told)]
    assert judge(MODEL, []) == [("ok", told.replace(", the same on 2 executors", ""))]


def test_missing_on_one() -> None:
    missing = two(has_model=False, model_files={})
    assert judge(MODEL, missing) == [("fault", "/models/x is not on executor 1 on two.")]


def test_missing_in_the_cache_of_one_is_fetched() -> None:
    (found,) = judge(replace(MODEL, path="owner/name", revision="c0ffee"), two(has_model=False, model_files={}))
    assert found[0] == "warning" and "workers will fetch it" in found[1]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (OTHER, "config.json"),
        ({"config.json": "a1"}, "model.safetensors"),
        ({**SOUND.model_files, "extra.json": "1"}, "extra.json"),
        ({}, "config.json and model.safetensors"),
        ({**SOUND.model_files, "config.json": "unreadable"}, "config.json"),
    ],
)
def test_other_files_on_one(files: dict[str, str], names: str) -> None:
    told = f"/models/x has other files on executor 1 on two than on the driver: {names}."
    assert judge(MODEL, two(model_files=files)) == [("fault", told)]


def test_executors_are_compared_where_the_driver_has_no_model() -> None:
    broken = ModelFacts(path="/models/x", faults=("/models/x is not there. Name a folder.",))
    driver = replace(DRIVER, has_model=False, model_files={})
    assert judge(broken, two(model_files=OTHER), driver) == [
        ("fault", "/models/x is not there."),
        ("fault", "/models/x has other files on executor 1 on two than on executor 0 on one: config.json."),
    ]


def test_executors_without_python_say_nothing_of_the_model() -> None:
    assert judge(MODEL, two(failed=127, has_model=None, model_files={}))[0][0] == "ok"


def test_faults_of_a_folder_are_found_here(tmp_path: Path) -> None:
    found = find_model(settings_of(tmp_path, "source.jsonl", model={"path": str(tmp_path / "none")}))
    assert found.digest == "" and "is neither a folder nor a hub name. Name a model folder" in found.faults[0]


def test_a_stand_in_has_no_files(tmp_path: Path) -> None:
    found = find_model(settings_of(tmp_path, "source.jsonl"))
    assert (found.is_fake, found.dimension, found.weight_bytes) == (True, 8, 0)
    assert judge(found, two(has_model=None, model_files={}))[0][0] == "ok"
