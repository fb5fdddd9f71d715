"""The user's configuration: the settings file, and the specs that follow from it."""

from spark_jobs.settings.loading import Settings, as_settings, as_spaces, load_settings, load_spaces
from spark_jobs.settings.specs import inference_spec

__all__ = ["Settings", "as_settings", "as_spaces", "inference_spec", "load_settings", "load_spaces"]
