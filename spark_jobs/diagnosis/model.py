"""Whether the model can be used, and whether every executor has the same files."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import InputError
from spark_jobs.diagnosis.findings import Finding, fault, grouped, listed, ok, warning
from spark_jobs.diagnosis.machines import HERE, Machine
from spark_jobs.settings.loading import Settings
from udfs.models.files import shown
from udfs.models.source import describe_model, is_fake, weight_bytes

_REMEDY = "Give every machine the same files."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model as the driver sees it.

    Attributes:
        path: Folder, hub name, or version in MLflow's registry.
        revision: Commit of a hub name.
        is_fake: Whether it is the stand-in without files.
        digest: Digest of its files; empty if it cannot be used.
        dimension: Length of a vector; 0 if it cannot be used.
        weight_bytes: Size of its weights; 0 if unknown.
        faults: What is wrong with it, each with its remedy.
    """

    path: str
    revision: str | None = None
    is_fake: bool = False
    digest: str = ""
    dimension: int = 0
    weight_bytes: int = 0
    faults: tuple[str, ...] = ()


def find_model(settings: Settings) -> ModelFacts:
    """Inspects the model of the settings on the driver, without loading it; a hub name that is not here is fetched."""
    model = settings.model
    path = shown(model.path)
    try:
        spec = describe_model(
            model.path,
            model.revision,
            dimensions=model.dimensions,
            normalize=model.normalize,
            precision=model.precision,
            cache=model.cache,
        )
        weights = weight_bytes(spec)
    except InputError as error:
        return ModelFacts(path=path, revision=model.revision, is_fake=is_fake(model.path), faults=error.faults)
    except OSError as error:
        return ModelFacts(path=path, faults=(f"it cannot be read: {error.strerror}. Fix its permissions.",))
    return ModelFacts(
        path=shown(spec.path),
        revision=model.revision,
        is_fake=is_fake(model.path),
        digest=spec.digest,
        dimension=spec.dimension,
        weight_bytes=weights,
    )


def judge_model(model: ModelFacts, driver: Machine, machines: Sequence[Machine]) -> list[Finding]:
    """Judges the model here and on executors.

    Args:
        model: The model as the driver sees it.
        driver: The driver's machine.
        machines: The executors.

    Returns:
        The findings.
    """
    findings = []
    for text in model.faults:
        cause, _, remedy = text.partition(". ")
        findings.append(fault("model", f"{cause.rstrip('.')}.", remedy))
    if not model.is_fake:
        findings += _elsewhere(model, driver, [each for each in machines if each.failed is None])
    if findings:
        return findings
    if model.is_fake:
        return [ok("model", f"{model.path} is a stand-in that needs no files.")]
    # A version of a registry is looked at here alone: each machine fetches it when it first needs it.
    seen = sum(each.has_model is True for each in machines)
    where = f", the same on {seen} executor{'s' * (seen != 1)}" if seen else ""
    return [ok("model", f"{model.path} has {model.dimension} dimensions and digest {model.digest[:12]}{where}.")]


def _elsewhere(model: ModelFacts, driver: Machine, machines: Sequence[Machine]) -> list[Finding]:
    without = [each.place for each in machines if each.has_model is False]
    found = []
    if without and model.revision is None:
        found.append(fault("model", f"{model.path} is not on {listed(without)}.", _REMEDY))
    elif without:
        found.append(
            warning(
                "model",
                f"{model.path} is not in the hub's cache on {listed(without)}, so workers will fetch it.",
                "Fetch it there beforehand if they have no network.",
            )
        )
    having = [each for each in (driver, *machines) if each.has_model]
    if having:
        found += _differences(model, having[0], having[1:])
    return found


def _differences(model: ModelFacts, first: Machine, others: Sequence[Machine]) -> list[Finding]:
    differing = [(each.place, each) for each in others if each.model_files != first.model_files]
    found = []
    # One line for each way in which the files differ.
    for names, places in grouped((place, listed(_names(first, each))) for place, each in differing).items():
        than = "the driver" if first.place == HERE else first.place
        cause = f"{model.path} has other files on {listed(places)} than on {than}: {names}."
        found.append(fault("model", cause, _REMEDY))
    return found


def _names(first: Machine, second: Machine) -> list[str]:
    mine, theirs = first.model_files, second.model_files
    return sorted(shown(name) for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
