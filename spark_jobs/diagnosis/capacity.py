"""Whether executors have what a job takes: memory for the model, cores for its threads, disk for shuffles, one time."""

from collections.abc import Mapping, Sequence

from spark_jobs.diagnosis.findings import Finding, fault, grouped, listed, ok, warning
from spark_jobs.diagnosis.machines import Machine

_MIB, _GIB = 2**20, 2**30
# Python with torch takes most of this; measured for a model of 90 MB, see docs/performance.md.
_WORKER_BYTES = 1_200 * _MIB
# While a model is converted, its weights are in memory about three times.
_COPIES = 3
# Of a worker that computes nothing with torch.
_FAKE_BYTES = 200 * _MIB
_LEAST_DISK, _ENOUGH_DISK = 1 * _GIB, 10 * _GIB
_ENOUGH_SKEW, _MOST_SKEW = 5, 60
_OVERHEAD, _LIMIT = "spark.executor.memoryOverhead", "spark.executor.pyspark.memory"
# Spark's own choice: this share of Java's memory, and at least so much.
_FACTORS, _LEAST_OVERHEAD = {"yarn": 0.1, "k8s": 0.4}, 384 * _MIB
_UNITS = {"k": 2**10, "m": _MIB, "g": _GIB, "t": 2**40, "b": 1}


def bytes_of(text: str) -> int | None:
    """Reads a size as Spark's properties have it.

    Args:
        text: Such as `512m`, `4g` or `2048`, which is in MiB.

    Returns:
        Bytes; None if it is not a size.

    Example:
        >>> bytes_of("512m"), bytes_of("4gb"), bytes_of("x")
        (536870912, 4294967296, None)
    """
    digits = text.strip().lower()
    unit = digits.lstrip("0123456789")
    number = digits[: len(digits) - len(unit)]
    factor = _MIB if not unit else _UNITS.get(unit if len(unit) == 1 else unit.removesuffix("b"))
    return int(number) * factor if number and factor else None


def worker_bytes(weight_bytes: int, is_fake: bool) -> int:
    """Estimates the memory that a worker takes for a model, most of it outside Java."""
    return _FAKE_BYTES if is_fake else _WORKER_BYTES + _COPIES * weight_bytes


def judge_memory(need: int, properties: Mapping[str, str], machines: Sequence[Machine]) -> list[Finding]:
    """Judges whether a worker with the model fits beside Java.

    Args:
        need: Bytes that one worker takes, as `worker_bytes` estimates.
        properties: Of the session.
        machines: The executors; the driver's machine where it would do their work.

    Returns:
        The findings.
    """
    found = []
    for name, given in ((_LIMIT, bytes_of(properties.get(_LIMIT, ""))), (_OVERHEAD, _overhead(properties))):
        if given is not None and given < need:
            cause = f"{name} is {_shown(given)}, and a worker with this model takes about {_shown(need)}."
            found.append(fault("memory", cause, f"Set it to {_shown(need)} or more."))
    known = [each for each in machines if each.memory is not None]
    small = [each for each in known if _room(each, known) < need]
    if small:
        free = _shown(min(_room(each, known) for each in small))
        cause = f"a worker with this model takes about {_shown(need)}, and only {free} are free on {_places(small)}."
        return [*found, fault("memory", cause, "Give these machines more memory, or choose a smaller model.")]
    tight = [each for each in known if _room(each, known) < need * _workers(each)]
    if tight:
        most = max(_workers(each) for each in tight)
        cause = (
            f"{most} workers of an executor would take about {_shown(need * most)}, and "
            f"{_shown(min(_room(each, known) for each in tight))} are free on {_places(tight)}."
        )
        remedy = "Use fewer cores for each executor (spark.executor.cores), or more for each task (spark.task.cpus)."
        return [*found, warning("memory", cause, remedy)]
    if found or not known:
        return found
    least = min(_room(each, known) for each in known)
    return [ok("memory", f"a worker with this model takes about {_shown(need)}, and {_shown(least)} are free.")]


def _overhead(properties: Mapping[str, str]) -> int | None:
    """Finds what YARN and Kubernetes allow an executor beside Java; others do not limit it."""
    factor = next(
        (share for kind, share in _FACTORS.items() if properties.get("spark.master", "").startswith(kind)), None
    )
    if factor is None:
        return None
    heap = bytes_of(properties.get("spark.executor.memory", "1g")) or _GIB
    return bytes_of(properties.get(_OVERHEAD, "")) or max(_LEAST_OVERHEAD, int(heap * factor))


def _room(machine: Machine, machines: Sequence[Machine]) -> int:
    # Executors on one machine share what is free there.
    return (machine.memory or 0) // max(1, sum(each.host == machine.host for each in machines))


def _workers(machine: Machine) -> int:
    return machine.executor_cores or machine.cores or 1


def _shown(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"


def _places(machines: Sequence[Machine]) -> str:
    return listed([each.place for each in machines])


def judge_cores(properties: Mapping[str, str], machines: Sequence[Machine]) -> list[Finding]:
    """Judges whether Spark gives out the cores that there are.

    Args:
        properties: Of the session.
        machines: The executors; the driver's machine where it would do their work.

    Returns:
        The findings.
    """
    found = []
    task = properties.get("spark.task.cpus", "1")
    for host, cores in {each.host: each.cores for each in machines if each.cores}.items():
        given = sum(each.executor_cores or 0 for each in machines if each.host == host)
        if given > cores:
            cause = f"executors on {host} run tasks on {given} cores, and it has {cores}."
            found.append(warning("cores", cause, "Lower spark.executor.cores, or the cores of its Spark worker."))
    threads = [each for each in machines if (each.threads or "").isdigit() and int(each.threads or 0) > int(task)]
    # Spark sets it to the cores of a task unless someone else has.
    groups = grouped((each.place, f"OMP_NUM_THREADS is {each.threads}") for each in threads)
    for text, places in groups.items():
        cause = f"{text} on {listed(places)}, and a task has {task} core{'s' * (task != '1')}."
        found.append(warning("cores", cause, "Unset it, so that Spark sets it to spark.task.cpus."))
    if found or not any(each.cores for each in machines):
        return found
    counts = grouped((each.place, str(each.executor_cores or each.cores)) for each in machines if each.cores)
    told = (f"{count} core{'s' * (count != '1')} on {listed(places)}" for count, places in counts.items())
    return [ok("cores", f"Spark may use {', '.join(told)}.")]


def judge_half_precision(dtype: str, is_fake: bool, machines: Sequence[Machine]) -> list[Finding]:
    """Judges what the processors can do for `model.dtype`.

    Args:
        dtype: Value of `model.dtype`.
        is_fake: Whether the model is the stand-in.
        machines: The executors; the driver's machine where it would do their work.

    Returns:
        The findings; none if the model computes nothing, or for machines with a GPU.
    """
    known = [] if is_fake else [each for each in machines if each.half_precision is not None and not each.gpus]
    able = [each for each in known if each.half_precision]
    unable = [each for each in known if not each.half_precision]
    if able and unable and dtype == "auto":
        cause = f"bfloat16 is used on {_places(able)}, and float32 on {_places(unable)}, which is slower."
        return [warning("processor", cause, "Set model.dtype to one of them, or use processors of one kind.")]
    if unable and dtype in ("bfloat16", "float16"):
        cause = f"model.dtype is {dtype}, and the processor has no instructions for it on {_places(unable)}."
        return [warning("processor", cause, "Set model.dtype to auto; float32 is faster there.")]
    if not known:
        return []
    kind = "has instructions for bfloat16" if able else "has no instructions for half precision, so float32 is used"
    return [ok("processor", f"{'it' if len(known) == 1 else 'each'} {kind}.")]


def judge_disks(machines: Sequence[Machine]) -> list[Finding]:
    """Judges the folders that Spark shuffles through.

    Args:
        machines: The executors; the driver's machine where it would do their work.

    Returns:
        The findings.
    """
    remedy = "Set spark.local.dir, or SPARK_LOCAL_DIRS of the Spark worker, to a disk with more room."
    found, free = [], []
    for folder, places in grouped(
        (each.place, disk.folder) for each in machines for disk in each.disks if not disk.writable
    ).items():
        found.append(fault("disk", f"shuffles cannot be written to {folder} on {listed(places)}.", remedy))
    for each in machines:
        for disk in (disk for disk in each.disks if disk.writable and disk.free is not None):
            room = disk.free or 0
            free.append(room)
            if room < _ENOUGH_DISK:
                make = fault if room < _LEAST_DISK else warning
                cause = f"{disk.folder} on {each.place} has {_shown(room)} free for shuffles."
                found.append(make("disk", cause, remedy))
    if found or not free:
        return found
    return [ok("disk", f"{_shown(min(free))} or more are free for shuffles.")]


def judge_clocks(machines: Sequence[Machine], store_ahead: float) -> list[Finding]:
    """Judges the clocks of executors and of the store against the driver's.

    Args:
        machines: The executors.
        store_ahead: Seconds by which the store's clock is ahead at least.

    Returns:
        The findings.
    """
    clocks = [(each.place, each.seconds_ahead) for each in machines if each.failed is None]
    clocks.append(("the store", store_ahead))
    found = []
    for place, ahead in clocks:
        if abs(ahead) >= _ENOUGH_SKEW:
            make = fault if abs(ahead) >= _MOST_SKEW else warning
            way = "ahead of" if ahead > 0 else "behind"
            cause = f"the clock of {place} is {abs(ahead):,.0f} s or more {way} the driver's."
            found.append(make("clocks", cause, "Have every machine keep its time by NTP."))
    return found or [ok("clocks", f"no clock differs from the driver's by {_ENOUGH_SKEW} s.")]
