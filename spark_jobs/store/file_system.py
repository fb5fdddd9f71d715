"""Which file system the paths of the settings are on."""

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import split_path


def with_file_system(spark: SparkSession, settings: Settings) -> Settings:
    """Completes paths of store and source that have no scheme, where the session does not read them as local ones.

    Hadoop looks for them on its default file system. Locks and checks of folders must not take them for folders of this
    machine then.

    Args:
        spark: A live session.
        settings: The whole configuration.

    Returns:
        The same settings if the session's default file system is the local one, or if it does not tell.
    """
    paths = {"store": settings.store.path, "source": settings.source.path}
    bare = {name: path for name, path in paths.items() if path is not None and not split_path(path)[0]}
    root = _default_file_system(spark) if bare else ""
    if split_path(root)[0] in ("", "file"):
        return settings
    completed = {
        name: getattr(settings, name).model_copy(update={"path": root.rstrip("/") + path})
        for name, path in bare.items()
    }
    return settings.model_copy(update=completed)


def _default_file_system(spark: SparkSession) -> str:
    try:
        # The only way that classic and Connect sessions share; it also sees what Hadoop's own files configure.
        rows = spark.sql("SET fs.defaultFS").collect()
    except PySparkException:
        return ""
    return str(rows[0].value) if rows else ""
