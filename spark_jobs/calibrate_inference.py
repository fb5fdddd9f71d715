"""The calibration job: which size of forward pass is fastest for this model, this library and this machine."""

import json
from pathlib import Path

from pyspark.sql import SparkSession
from rich.console import Console

from schemas.calibration import TRIALS
from schemas.errors import InputError
from spark_jobs.calibration_plot import save_plot
from spark_jobs.calibration_report import Calibration, as_calibration
from spark_jobs.preflight import chunk_spec, inference_spec
from spark_jobs.sampling import sample_chunks
from spark_jobs.settings import Settings
from spark_jobs.sources import open_source
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
    inference = inference_spec(settings)
    source, chunking = open_source(spark, settings.source), chunk_spec(settings, inference.model)
    sample = sample_chunks(settings, source, chunking, inference.model, texts).repartition(1)
    rows = sample.mapInArrow(calibrate_arrow(inference, rounds), TRIALS).collect()
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
