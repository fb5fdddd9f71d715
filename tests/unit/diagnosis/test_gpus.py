"""GPUs that are asked for, seen, and fit torch."""

from typing import Any

import pytest

from spark_jobs.diagnosis.findings import Finding
from spark_jobs.diagnosis.gpus import judge_gpus
from spark_jobs.diagnosis.machines import Machine
from tests.support.machines import two

ASKED = {"spark.executor.resource.gpu.amount": "1"}
GPU: dict[str, Any] = {"gpus": ["H100"], "cuda": (13, 2)}


def both(**values: Any) -> list[Machine]:
    return [two(**values)[1], two(**{"place": "executor 2 on three", **values})[1]]


def judge(machines: list[Machine], properties: dict[str, str] | None = None, device: str = "auto") -> Finding:
    (found,) = judge_gpus(properties or {}, device, False, machines)
    return found


def test_none_asked_for_and_none_there() -> None:
    assert judge(two()).level == "ok"
    assert judge_gpus(ASKED, "auto", False, []) == []


def test_asked_for_and_there() -> None:
    found = judge(both(**GPU), ASKED)
    assert (found.level, found.cause) == ("ok", "executor 1 on two and executor 2 on three has 1 of H100.")


@pytest.mark.parametrize(
    ("properties", "device", "reason"),
    [(ASKED, "auto", "spark.executor.resource.gpu.amount is 1"), ({}, "cuda", "inference.device is cuda")],
)
def test_asked_for_and_not_there(properties: dict[str, str], device: str, reason: str) -> None:
    found = judge([*both(**GPU), *two()[1:]], properties, device)
    assert (found.level, found.cause) == ("fault", f"{reason}, and no GPU can be used on executor 1 on two.")


def test_fewer_than_asked_for() -> None:
    found = judge(both(**GPU), {"spark.executor.resource.gpu.amount": "2"})
    assert found.level == "fault" and "is 2, and fewer can be used" in found.cause


def test_there_and_not_asked_for() -> None:
    assert judge(both(**GPU)).level == "warning"
    assert judge(both(**GPU), device="cuda").level == "ok"


@pytest.mark.parametrize(
    ("cuda", "torch", "level"),
    [((13, 0), "13.2", "ok"), ((13, 2), "12.8", "ok"), ((12, 9), "13.0", "fault"), ((11, 4), "12.1", "fault")],
)
def test_the_driver_runs_torch_s_major_version_of_cuda(cuda: tuple[int, int], torch: str, level: str) -> None:
    found = judge(both(gpus=["H100"], cuda=cuda, torch_cuda=torch), ASKED)
    assert found.level == level
    if level == "fault":
        assert f"supports CUDA {cuda[0]}.{cuda[1]}, and torch needs {torch}." in found.cause


def test_torch_without_cuda_beside_a_gpu() -> None:
    found = judge(both(**GPU, torch_cuda=""), ASKED)
    assert found.level == "fault" and "torch was built without CUDA" in found.cause
    assert judge(both(**GPU, torch_cuda=""), device="cpu").level == "ok"


def test_a_gpu_of_amd_is_not_missed() -> None:
    assert judge(both(has_amd=True), ASKED).level == "ok"
