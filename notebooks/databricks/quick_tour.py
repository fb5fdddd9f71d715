# Databricks notebook source
# MAGIC %md
# MAGIC # A quick tour
# MAGIC
# MAGIC A few documents are written to a table, embedded, changed, embedded again, and searched. Choose a catalog
# MAGIC and schema in which you may create tables. Everything that the tour makes begins with `tour`.
# MAGIC
# MAGIC With the model `fake:64`, a stand-in without weights, everything works but the meaning of the answers. Name
# MAGIC a folder in a volume, or `models:/catalog.schema.model@alias`, for real ones.

# COMMAND ----------

dbutils.widgets.text("catalog", "main")
dbutils.widgets.text("schema", "default")
dbutils.widgets.text("model", "fake:64")
dbutils.widgets.text("model_cache", "")

# COMMAND ----------

from schemas.table import quoted
from spark_jobs.settings import as_settings

catalog, schema = dbutils.widgets.get("catalog"), dbutils.widgets.get("schema")
source = ".".join(quoted(part) for part in (catalog, schema, "tour_documents"))
model = {"path": dbutils.widgets.get("model"), "cache": dbutils.widgets.get("model_cache") or None}
settings = as_settings(
    {
        "library": "tour",
        "store": {"catalog": catalog, "schema": schema, "vector_encoding": "plain"},
        "source": {
            "format": "table",
            "table": source,
            "id_column": "id",
            "text_columns": ["text"],
            "payload_columns": ["topic"],
        },
        "model": model,
        "inference": {"resource_profile": "off"},
    }
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Documents
# MAGIC
# MAGIC The table's change feed tells a run what has changed since the last one. Without it, hashes of all documents
# MAGIC do.

# COMMAND ----------

DOCUMENTS = [
    ("owls", "animals", "Owls hunt at night and turn their heads far around."),
    ("bees", "animals", "Bees make honey and tell each other where flowers are."),
    ("bread", "food", "Bread rises because yeast makes gas in the dough."),
]
rows = spark.createDataFrame(DOCUMENTS, "id STRING, topic STRING, text STRING")
rows.writeTo(source).using("delta").tableProperty("delta.enableChangeDataFeed", "true").createOrReplace()
display(spark.table(source))

# COMMAND ----------

# MAGIC %md
# MAGIC ## First load

# COMMAND ----------

from spark_jobs.embed_library import run

print(run(spark, settings))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Refresh
# MAGIC
# MAGIC One document changes. Only its text is embedded.

# COMMAND ----------

spark.sql(f"UPDATE {source} SET text = 'Bees dance to tell each other where flowers are.' WHERE id = 'bees'")
print(run(spark, settings))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Search

# COMMAND ----------

from spark_jobs.search.hits import as_lines
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search_library import answer

print(
    as_lines(answer(spark, settings, "Which animal sees in the dark?", SearchOptions(k=2, where="topic = 'animals'")))
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The tables

# COMMAND ----------

store = ".".join(quoted(part) for part in (catalog, schema))
display(spark.sql(f"SHOW TABLES IN {store} LIKE 'tour__*'"))
display(spark.table(f"{store}.`tour__vectors`").select("doc_id", "topic", "text", "run_id"))
