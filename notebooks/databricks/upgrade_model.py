# Databricks notebook source
# MAGIC %md
# MAGIC # Change to another model
# MAGIC
# MAGIC Another model gets a space of its own, built beside the one that readers use. It takes its place in one
# MAGIC commit, and the old one stays until it is dropped. The widget `steps` says how far to go, so that the
# MAGIC notebook can be looked at after each.

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
STEPS = ["compare", "build", "promote", "roll back"]
dbutils.widgets.text("settings", "../../conf/databricks/settings.yaml")
for name in SETTINGS:
    dbutils.widgets.text(name, "")
dbutils.widgets.text("new_space", "next")
dbutils.widgets.text("new_model", "")
dbutils.widgets.dropdown("steps", "compare", STEPS)
dbutils.widgets.text("question", "What is this library about?")
dbutils.widgets.text("index_endpoint", "")

# COMMAND ----------

from spark_jobs.settings import load_settings

given = {key: dbutils.widgets.get(name) for name, key in SETTINGS.items()}
overrides = [f"{key}={value}" for key, value in given.items() if value]
settings = load_settings(dbutils.widgets.get("settings"), overrides)
new_space = dbutils.widgets.get("new_space")
changed = [*overrides, f"space={new_space}", f"model.path={dbutils.widgets.get('new_model')}"]
new = load_settings(dbutils.widgets.get("settings"), changed)
todo = STEPS[: STEPS.index(dbutils.widgets.get("steps")) + 1]
print(f"{settings.model.path} → {new.model.path}: {', '.join(todo)}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Compare
# MAGIC
# MAGIC A sample of the documents is embedded with the new model. Nothing is written. With judged queries (see
# MAGIC `spark_jobs.compare_spaces.run`), it says by how much retrieval differs.

# COMMAND ----------

from spark_jobs.compare_spaces import run as compare

print(compare(spark, new, new_space, sample=1_000, k=3))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Build
# MAGIC
# MAGIC The first run of the new space embeds the whole library. Later ones keep it in sync: let the job embed both
# MAGIC spaces until one of them is dropped.

# COMMAND ----------

from spark_jobs.embed_library import run

if "build" in todo:
    print(run(spark, new))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Promote
# MAGIC
# MAGIC The space is verified and must cover the library (and, with judged queries in `promotion`, retrieve as
# MAGIC well). Then readers, and the view `<library>__vectors`, get it in one commit.

# COMMAND ----------

from spark_jobs.promote_space import run as promote
from spark_jobs.search.hits import as_lines
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search_library import answer

if "promote" in todo:
    print(promote(spark, settings, new_space))
    print(as_lines(answer(spark, settings, dbutils.widgets.get("question"), SearchOptions(k=3))))

# COMMAND ----------

from spark_jobs.list_spaces import run as list_spaces

for space in list_spaces(spark, settings):
    print(f"{space.space}: {space.state}, {space.model}, {space.documents} documents, {space.chunks} chunks")

# COMMAND ----------

# MAGIC %md
# MAGIC ## The vector search index
# MAGIC
# MAGIC An index follows the table of one space. Vectors of two models cannot be compared, so the promoted space
# MAGIC needs an index of its own. Build it before you promote, and let applications ask for the index of the space
# MAGIC that is active:

# COMMAND ----------

endpoint = dbutils.widgets.get("index_endpoint")
table = f"{new.store.catalog}.{new.store.schema_}.{new.library}__{new_space}__vectors"
if endpoint and "build" in todo:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.vectorsearch import (
        DeltaSyncVectorIndexSpecRequest,
        EmbeddingVectorColumn,
        PipelineType,
        VectorIndexType,
    )

    dimension = next(each.dimension for each in list_spaces(spark, settings) if each.space == new_space)
    indexes = WorkspaceClient().vector_search_indexes
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

# COMMAND ----------

# MAGIC %md
# MAGIC ## Roll back
# MAGIC
# MAGIC Readers go back to the space that was active before.

# COMMAND ----------

from spark_jobs.rollback_space import run as roll_back

if "roll back" in todo:
    print(roll_back(spark, settings))
