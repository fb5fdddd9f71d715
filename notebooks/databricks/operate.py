# Databricks notebook source
# MAGIC %md
# MAGIC # Operate a library
# MAGIC
# MAGIC Status, plan, quarantine, verification, maintenance and the report. Only maintenance writes, and only if its
# MAGIC widget says so.

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
dbutils.widgets.dropdown("maintain", "no", ["no", "yes"])

# COMMAND ----------

from spark_jobs.settings import load_settings

given = {key: dbutils.widgets.get(name) for name, key in SETTINGS.items()}
settings = load_settings(dbutils.widgets.get("settings"), [f"{key}={value}" for key, value in given.items() if value])

# COMMAND ----------

# MAGIC %md
# MAGIC ## Status
# MAGIC
# MAGIC The spaces, the last runs, and what a run would do now.

# COMMAND ----------

from rich.console import Console

from spark_jobs.show_status import run as show_status

console = Console(width=160)
show_status(spark, settings, console)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Plan

# COMMAND ----------

from spark_jobs.plan_library import run as plan

print(plan(spark, settings))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Quarantine
# MAGIC
# MAGIC Documents that could not be embedded, each with a reason.

# COMMAND ----------

from spark_jobs.list_quarantine import run as list_quarantine

list_quarantine(spark, settings, console)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The record of runs

# COMMAND ----------

from pyspark.sql import functions as F

from schemas.table import quoted

runs = ".".join(quoted(part) for part in (settings.store.catalog, settings.store.schema_, "embedlake__runs"))
mine = F.col("library") == settings.library
display(spark.table(runs).where(mine).orderBy(F.desc("event_time")).limit(20))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Verify
# MAGIC
# MAGIC Every row is read.

# COMMAND ----------

from spark_jobs.verify_space import run as verify

print(verify(spark, settings))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Maintain
# MAGIC
# MAGIC Small files are compacted, and files that no version of the last week needs are deleted.

# COMMAND ----------

from spark_jobs.maintain_space import run as maintain

if dbutils.widgets.get("maintain") == "yes":
    print(maintain(spark, settings))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Report
# MAGIC
# MAGIC One page: coverage, chunks, runs, cost, quality, a map of vectors. It needs the extra `[report]`. The map
# MAGIC here shows no texts, because a notebook keeps what it has shown.

# COMMAND ----------

import tempfile
from pathlib import Path

from spark_jobs.report_library import run as report

page = Path(tempfile.mkdtemp(), "report.html")
report(spark, settings, page, with_texts=False)
displayHTML(page.read_text(encoding="utf-8"))
