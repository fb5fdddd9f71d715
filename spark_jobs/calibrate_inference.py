"""The calibration job: which size of forward pass is fastest for this model, this library and this machine."""

import json
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType
from rich.console import Console

from schemas.calibration import TRIALS
from schemas.errors import InputError
from schemas.staged_chunks import CHUNK_FIELDS
from spark_jobs.calibration_plot import save_plot
from spark_jobs.calibration_report import Calibration, as_calibration
from spark_jobs.preflight import chunk_spec, inference_spec
from spark_jobs.settings import Settings
from spark_jobs.sources import open_source
from spark_jobs.transforms import as_documents
from udfs.chunk_documents import chunk_documents
from udfs.embed import calibrate_arrow


def run(
    spark: SparkSession, settings: Settings, console: Console, out: Path, texts: int = 256, rounds: int = 3
) -> Calibration:
    """Embeds a sample of the library in passes of many sizes; writes nothing to the store.

    Args:
        spark: The live session.
        settings: The whole configuration.
        console: Where to print.
        out: Folder for `calibration.json` and `calibration.png`.
        texts: Chunks to try with.
        rounds: How often each size is tried.

    Returns:
        What was found.

    Raises:
        InputError: The source has no text, or the folder cannot be written.
    """
    sample = _chunks(spark, settings, texts).repartition(1)
    rows = sample.mapInArrow(calibrate_arrow(inference_spec(settings), rounds), TRIALS).collect()
    if not rows:
        raise InputError("the source has no text to calibrate with: check source.path, source.table and source.filter")
    found = as_calibration(rows)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "calibration.json").write_text(json.dumps(found.as_dict(), indent=1) + "\n")
        save_plot(found, out / "calibration.png")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}: name another folder by --out") from error
    console.print(found.table())
    console.print(f"inference.token_budget: {found.token_budget}  # {found.why}", highlight=False, soft_wrap=True)
    return found


def _chunks(spark: SparkSession, settings: Settings, count: int) -> DataFrame:
    model = inference_spec(settings).model
    source = open_source(spark, settings.source)
    documents = as_documents(source.rows, settings.source, ())
    # By a hash of the id: neither the first file alone nor the shortest documents.
    drawn = documents.where(F.col("text").isNotNull()).orderBy(F.xxhash64("doc_id")).limit(count)
    cut = chunk_documents(settings.library, chunk_spec(settings, model), model)
    chunks = drawn.select("doc_id", "text").mapInArrow(cut, StructType(list(CHUNK_FIELDS)))
    return chunks.where(F.col("text").isNotNull()).select("text").limit(count)
