"""Machines as the probe would report them: sound ones, of which a test spoils one."""

from dataclasses import replace
from typing import Any

from spark_jobs.diagnosis.machines import HERE, Disk, Machine

GIB = 2**30
SOUND = Machine(
    place="executor 0 on one",
    host="one",
    python=(3, 11, 7),
    executable="/usr/bin/python3",
    packages={"embedlake": "0.1.0", "pyspark": "4.2.0", "torch": "2.15.0", "openvino": None},
    has_model=True,
    model_files={"config.json": "a1", "model.safetensors": "b2"},
    torch_cuda="13.2",
    cores=4,
    executor_cores=2,
    half_precision=["avx512_bf16"],
    memory=32 * GIB,
    disks=[Disk("/tmp", 100 * GIB, True)],
)
DRIVER = replace(SOUND, place=HERE, host="driver", executor_cores=None)


def two(**second: Any) -> list[Machine]:
    """A sound executor, and one with something of its own."""
    return [SOUND, replace(SOUND, **{"place": "executor 1 on two", "host": "two", **second})]
