"""The whole configuration: one YAML file, strict, with every fault reported at once."""

import os
from typing import Any

from spark_jobs.settings_faults import checked
from spark_jobs.settings_sections import (
    ChunkingSettings,
    InferenceSettings,
    MaintenanceSettings,
    ModelSettings,
    Name,
    RunSettings,
    Section,
    SourceSettings,
    SparkSettings,
    StoreSettings,
)
from spark_jobs.settings_values import merged_values


class Settings(Section):
    """One environment of the job."""

    library: Name
    space: Name = "main"
    store: StoreSettings
    source: SourceSettings
    chunking: ChunkingSettings = ChunkingSettings()
    model: ModelSettings
    inference: InferenceSettings = InferenceSettings()
    run: RunSettings = RunSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    spark: SparkSettings = SparkSettings()


def as_settings(values: dict[str, Any]) -> Settings:
    """Checks plain values, as a notebook has them, against the whole configuration.

    Args:
        values: Nested dictionary of settings.

    Returns:
        The settings.

    Raises:
        InputError: Unknown keys, wrong types, impossible combinations; all of them, each with its key's path.
    """
    return checked(Settings, values)


def load_settings(
    path: str | os.PathLike[str], overrides: list[str] | None = None, environ: dict[str, str] | None = None
) -> Settings:
    """Reads a settings file, then the environment, then overrides; later ones win.

    Args:
        path: YAML file.
        overrides: `key=value` pairs such as `model.dtype=float32`; values are YAML.
        environ: Environment; the process's own when left out. `EMBEDLAKE_MODEL__DTYPE` sets `model.dtype`.

    Returns:
        The settings.

    Raises:
        InputError: The file cannot be read, or `as_settings` refuses what it says.
    """
    return as_settings(merged_values(path, overrides or [], dict(os.environ if environ is None else environ)))
