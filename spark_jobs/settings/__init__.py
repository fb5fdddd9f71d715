"""What the user configured: the settings file, and the specs that follow from it."""

from spark_jobs.settings.loading import Settings, as_settings, load_settings
from spark_jobs.settings.specs import inference_spec

__all__ = ["Settings", "as_settings", "inference_spec", "load_settings"]
