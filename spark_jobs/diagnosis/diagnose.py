"""The whole diagnosis: gathers each group of facts, whatever became of the others, and has them judged."""

from collections.abc import Callable
from contextlib import nullcontext

from pyspark.sql import SparkSession

from spark_jobs.diagnosis import classic
from spark_jobs.diagnosis.capacity import (
    judge_clocks,
    judge_cores,
    judge_disks,
    judge_half_precision,
    judge_memory,
    worker_bytes,
)
from spark_jobs.diagnosis.executors import Executors, find_executors
from spark_jobs.diagnosis.findings import Diagnosis, Finding, fault, listed, ok, warning
from spark_jobs.diagnosis.gpus import judge_gpus
from spark_jobs.diagnosis.limits import within_or
from spark_jobs.diagnosis.machines import Machine, driver_machine, request_of
from spark_jobs.diagnosis.model import ModelFacts, find_model, judge_model
from spark_jobs.diagnosis.properties import SessionProperties, find_properties, judge_properties
from spark_jobs.diagnosis.starting import Start, find_java_version, is_remote, judge_java, start_session
from spark_jobs.diagnosis.store_access import StoreFacts, judge_store, try_store, untried_store
from spark_jobs.diagnosis.versions import Versions, find_versions, judge_packages, judge_python, judge_versions
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import read_property
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system


def diagnose(
    spark: SparkSession | None,
    settings: Settings,
    start: Callable[[], SparkSession],
    limit: float,
    progress: Progress | None = None,
) -> Diagnosis:
    """Looks at everything that a job needs, and at each thing even where another is broken.

    Args:
        spark: The live session, if there is one.
        settings: The whole configuration.
        start: Starts a session otherwise.
        limit: Seconds that any one step may take.
        progress: Where progress is shown; nowhere by default.

    Returns:
        The findings.
    """
    progress = progress or Progress()
    with progress.step("machine"):
        # A session that is live has its Java, and one of Connect has it elsewhere.
        java = find_java_version() if spark is None and not is_remote(settings) else None
        # A hub name may be fetched.
        late = ModelFacts(
            path=settings.model.path, faults=(f"it was not found within {limit:g} s. Look at the network.",)
        )
        driver, model = driver_machine(settings), within_or(limit, lambda: find_model(settings), late)
    with progress.step("session"):
        begun = Start(spark) if spark is not None else start_session(settings, start, java, limit)
    findings = [judge_java(java) if java is not None else ok("java", "the session has it."), _judge_start(begun)]
    if begun.spark is None:
        properties = SessionProperties(values=settings.spark.properties)
        versions = find_versions(None, settings.spark.properties)
        store, executors = untried_store(settings.store, "there is no session"), Executors()
    else:
        with progress.step("executors"):
            properties, versions, store, executors = _from_session(begun.spark, settings, limit)
        findings += _judge_executors(executors)
    findings += judge_versions(versions)
    findings += _judge_all(settings, driver, model, store, executors, properties)
    if begun.spark is not None:
        findings += judge_properties(properties)
    return Diagnosis(tuple(findings))


def _judge_start(begun: Start) -> Finding:
    if begun.spark is None:
        return fault("session", f"{begun.cause}.", begun.remedy)
    return ok("session", f"a session is live at {read_property(begun.spark, 'spark.master') or 'an unknown master'}.")


def _from_session(
    spark: SparkSession, settings: Settings, limit: float
) -> tuple[SessionProperties, Versions, StoreFacts, Executors]:
    properties = within_or(limit, lambda: find_properties(spark, settings.spark), SessionProperties())
    unknown = Versions(delta_fault=f"the session does not answer within {limit:g} s. Look at Spark's own messages.")
    versions = within_or(limit, lambda: find_versions(spark, settings.spark.properties), unknown)
    settings = within_or(limit, lambda: with_file_system(spark, settings), settings)
    # Delta's own code writes its log, so a session without it cannot try.
    broken = untried_store(settings.store, "the session cannot use Delta")
    with nullcontext(broken) if versions.delta_fault else try_store(spark, settings, limit) as store:
        path = classic.worker_path(spark) if classic.is_classic(spark) else []
        request = request_of(settings, properties.values.get("spark.local.dir"), store.folder, path)
        executors = find_executors(spark, settings, request, limit)
    return properties, versions, store, executors


def _judge_executors(executors: Executors) -> list[Finding]:
    findings = []
    after = f" within {executors.seconds:g} s" if executors.seconds else ""
    if executors.cause:
        remedy = (
            "Look at the cluster's page: are there workers with the cores, memory and GPUs that the session asks for, "
            "and can they connect to the driver (spark.driver.host)?"
        )
        findings.append(fault("executors", f"{executors.cause}{after}.", remedy))
    if executors.silent:
        cause = f"{listed(executors.silent)} did not answer."
        findings.append(warning("executors", cause, "Run this command again when the cluster has less to do."))
    if executors.ended:
        cause = f"{listed(executors.ended)} ended soon after the start."
        remedy = "Look at the end of its log: a full disk and too little memory are common reasons."
        findings.append(fault("executors", cause, remedy))
    number = len(executors.machines)
    if not findings:
        findings.append(ok("executors", f"{number} answered." if number != 1 else "one answered."))
    return findings


def _judge_all(
    settings: Settings,
    driver: Machine,
    model: ModelFacts,
    store: StoreFacts,
    executors: Executors,
    properties: SessionProperties,
) -> list[Finding]:
    working = [each for each in executors.machines if each.failed is None]
    values, device, dtype = properties.values, settings.inference.device, settings.model.dtype
    # Without executors, this machine is all that is known, and it matters where it would do their work.
    is_here = values.get("spark.master", settings.spark.master).startswith("local") and driver.failed is None
    able = working or ([driver] if is_here else [])
    findings = judge_python(driver, executors.machines) + judge_packages(driver, able)
    findings += judge_model(model, driver, working)
    findings += judge_gpus(values, device, model.is_fake, able)
    findings += judge_half_precision(dtype, model.is_fake, able)
    if model.is_fake or model.weight_bytes:
        findings += judge_memory(worker_bytes(model.weight_bytes, model.is_fake), values, able)
    findings += judge_cores(values, able)
    findings += judge_disks(able)
    findings += judge_store(store, working)
    if executors.machines:
        findings += judge_clocks(working, store.seconds_ahead)
    return findings
