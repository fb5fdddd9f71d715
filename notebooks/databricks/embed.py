# Databricks notebook source
# MAGIC %md
# MAGIC # Embed a library
# MAGIC
# MAGIC First load, refresh and resume after a crash are the same run. The job `embed_gpu` of `conf/databricks`
# MAGIC starts this notebook; it can also be run by hand. Widgets that are left empty are as the settings file says.
# MAGIC
# MAGIC The wheel must be installed: as a library of the cluster or the job, or in the notebook's environment.

# COMMAND ----------

SETTINGS = {
    "library": "library",
    "space": "space",
    "catalog": "store.catalog",
    "schema": "store.schema",
    "source_table": "source.table",
    "model": "model.path",
    "model_cache": "model.cache",
}
dbutils.widgets.text("settings", "../../conf/databricks/settings.yaml")
for name in SETTINGS:
    dbutils.widgets.text(name, "")
dbutils.widgets.dropdown("allow_removals", "no", ["no", "yes"])
dbutils.widgets.dropdown("retry_quarantined", "no", ["no", "yes"])
dbutils.widgets.text("index_endpoint", "")

# COMMAND ----------

from spark_jobs.settings import load_settings

given = {key: dbutils.widgets.get(name) for name, key in SETTINGS.items()}
settings = load_settings(dbutils.widgets.get("settings"), [f"{key}={value}" for key, value in given.items() if value])
print(f"{settings.library}.{settings.space} in {settings.store.catalog}.{settings.store.schema}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## What a run would do
# MAGIC
# MAGIC Nothing is written, and the model is not loaded.

# COMMAND ----------

from spark_jobs.plan_library import run as plan

allowed = {name: dbutils.widgets.get(name) == "yes" for name in ("allow_removals", "retry_quarantined")}
print(plan(spark, settings, **allowed))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The run
# MAGIC
# MAGIC A run that reached its cap (`run.max_tokens`, `run.max_cost`) has committed what it may, and the next one
# MAGIC goes on. It is no failure of the task; tasks that need the whole library look at its value `exit_code`.

# COMMAND ----------

from schemas.errors import CapReachedError
from spark_jobs.embed_library import run

exit_code = 0
try:
    print(run(spark, settings, **allowed))
except CapReachedError as reached:
    exit_code = reached.exit_code
    print(reached)
dbutils.jobs.taskValues.set(key="exit_code", value=exit_code)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What readers see
# MAGIC
# MAGIC The view `<library>__vectors` shows the library's active space under a name that stays the same.

# COMMAND ----------

from pyspark.sql import functions as F

from schemas.table import quoted

view = ".".join(
    quoted(part) for part in (settings.store.catalog, settings.store.schema_, f"{settings.library}__vectors")
)
display(spark.table(view).select("doc_id", "chunk_index", "token_count", "text", F.slice("embedding", 1, 4)).limit(5))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The vector search index
# MAGIC
# MAGIC With a name of an endpoint, an index follows the table of this space: it is made if there is none, and
# MAGIC synced. The index belongs to the space, so the one of a promoted space is another; see `upgrade_model`.

# COMMAND ----------

endpoint = dbutils.widgets.get("index_endpoint")
table = f"{settings.store.catalog}.{settings.store.schema_}.{settings.library}__{settings.space}__vectors"
if endpoint and not exit_code:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.vectorsearch import (
        DeltaSyncVectorIndexSpecRequest,
        EmbeddingVectorColumn,
        PipelineType,
        VectorIndexType,
    )

    from spark_jobs.list_spaces import run as list_spaces

    indexes = WorkspaceClient().vector_search_indexes
    dimension = next(each.dimension for each in list_spaces(spark, settings) if each.space == settings.space)
    try:
        indexes.get_index(f"{table}_index")
        indexes.sync_index(f"{table}_index")
    except NotFound:
        indexes.create_index(
            name=f"{table}_index",
            endpoint_name=endpoint,
            primary_key="chunk_id",
            index_type=VectorIndexType.DELTA_SYNC,
            delta_sync_index_spec=DeltaSyncVectorIndexSpecRequest(
                source_table=table,
                pipeline_type=PipelineType.TRIGGERED,
                embedding_vector_columns=[EmbeddingVectorColumn(name="embedding", embedding_dimension=dimension)],
            ),
        )
    print(f"{table}_index follows {table}")
