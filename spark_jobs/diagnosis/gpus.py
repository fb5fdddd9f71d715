"""Whether the GPUs that are asked for are there, and whether their driver fits torch."""

from collections.abc import Mapping, Sequence

from spark_jobs.diagnosis.findings import Finding, fault, grouped, listed, ok, version_numbers, warning
from spark_jobs.diagnosis.machines import Machine

_ASKED = "spark.executor.resource.gpu.amount"


def judge_gpus(properties: Mapping[str, str], device: str, is_fake: bool, machines: Sequence[Machine]) -> list[Finding]:
    """Judges the GPUs.

    Args:
        properties: Of the session.
        device: Value of `inference.device`.
        is_fake: Whether the model is the stand-in, which uses no GPU.
        machines: The executors; the driver's machine where it would do their work.

    Returns:
        The findings.
    """
    asked = properties.get(_ASKED, "0")
    number = int(asked) if asked.isdigit() else 0
    working = [each for each in machines if each.failed is None]
    if not working:
        return []
    found = _missing(number, device, working) + _unfit(device, is_fake, working)
    if found:
        return found
    seeing = [each for each in working if each.gpus]
    if seeing and not number and device == "auto":
        cause = f"there are GPUs on {listed([each.place for each in seeing])}, and the session asks for none."
        return [warning("gpus", cause, "Start it with conf/spark-gpu.conf, so that each task has one of its own.")]
    if seeing:
        counts = grouped((each.place, f"{len(each.gpus)} of {each.gpus[0]}") for each in seeing)
        return [ok("gpus", f"{', '.join(f'{listed(places)} has {count}' for count, places in counts.items())}.")]
    return [ok("gpus", "none are asked for, and none are there.")]


def _missing(number: int, device: str, machines: Sequence[Machine]) -> list[Finding]:
    if number == 0 and not device.startswith("cuda"):
        return []
    needed = max(number, 1)
    # AMD's are not counted by NVIDIA's driver.
    lacking = [each for each in machines if len(each.gpus) < needed and not each.has_amd]
    if not lacking:
        return []
    reason = f"{_ASKED} is {number}" if number else f"inference.device is {device}"
    cause = f"{reason}, and no GPU can be used on {listed([each.place for each in lacking if not each.gpus])}."
    if all(each.gpus for each in lacking):
        cause = f"{reason}, and fewer can be used on {listed([each.place for each in lacking])}."
    return [fault("gpus", cause, "Look at nvidia-smi there, and at CUDA_VISIBLE_DEVICES, or ask for no GPU.")]


def _unfit(device: str, is_fake: bool, machines: Sequence[Machine]) -> list[Finding]:
    if device == "cpu" or is_fake:
        return []
    found = []
    seeing = [each for each in machines if each.gpus]
    without = [each.place for each in seeing if each.torch_cuda == ""]
    if without:
        cause = f"torch was built without CUDA on {listed(without)}, which has a GPU."
        found.append(fault("gpus", cause, "Install a build of torch with CUDA there."))
    old = [each for each in seeing if each.torch_cuda and each.cuda and _is_older(each.cuda, each.torch_cuda)]
    texts = grouped((each.place, f"{_dotted(each.cuda)}, and torch needs {each.torch_cuda}") for each in old)
    for text, places in texts.items():
        cause = f"the GPU's driver on {listed(places)} supports CUDA {text}."
        found.append(fault("gpus", cause, "Update the driver, or install a build of torch for its CUDA."))
    return found


def _is_older(driver: tuple[int, ...], torch: str) -> bool:
    # A driver runs programs of every minor version of its major one.
    return driver[0] < version_numbers(torch)[0]


def _dotted(numbers: tuple[int, ...] | None) -> str:
    return ".".join(map(str, numbers or ()))
