"""What OpenLineage's listener of Spark says of a run beside its tables: library, space, model, version."""

from pathlib import PurePath

from spark_jobs.settings.loading import Settings
from udfs import __version__

_LISTENER = "OpenLineage"
_JOB_TAGS, _RUN_TAGS = "spark.openlineage.job.tags", "spark.openlineage.run.tags"


def with_lineage_tags(settings: Settings) -> Settings:
    """Adds tags to the properties of a session that starts the listener; the user's own tags stay as they are."""
    properties = settings.spark.properties
    if _LISTENER not in properties.get("spark.extraListeners", ""):
        return settings
    job = _tags(library=settings.library, space=settings.space)
    run = _tags(model=PurePath(settings.model.path).name, embedlake=__version__)
    tagged = {_JOB_TAGS: job, _RUN_TAGS: run, **properties}
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"properties": tagged})})


def _tags(**values: str) -> str:
    # The listener knows no escape for its separators.
    return ";".join(f"{name}:{value.replace(';', '_').replace(':', '_')}" for name, value in values.items())
