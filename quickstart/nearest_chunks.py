"""Shows the chunks of the settings' library that are nearest to a question.

A demonstration of `embed_udf` in SQL: the question is embedded by the same model, with the query prompt, and
compared with every stored vector by their dot product, which for unit vectors is the cosine.
"""

import argparse
import textwrap
from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.preflight import inference_spec
from spark_jobs.session import get_session
from spark_jobs.settings import Settings, load_settings
from spark_jobs.store import read_vectors
from udfs.embed import embed_udf


def nearest_chunks(spark: SparkSession, settings: Settings, question: str, count: int = 5) -> DataFrame:
    """Finds the chunks nearest to a question, exactly, by a scan of all vectors.

    Args:
        spark: The live session.
        settings: The whole configuration.
        question: Any text.
        count: Chunks wanted.

    Returns:
        The vectors table's columns without the embedding, and score, best first.
    """
    spark.udf.register("embed_query", embed_udf(replace(inference_spec(settings), role="query")))
    query = spark.createDataFrame([(question,)], "question string").select(
        F.expr("embed_query(question)").alias("asked")
    )
    product = "aggregate(zip_with(embedding, asked, (x, y) -> cast(x as double) * y), 0D, (sum, x) -> sum + x)"
    return (
        read_vectors(spark, settings)
        .crossJoin(F.broadcast(query))
        .select("*", F.expr(product).alias("score"))
        .drop("embedding", "asked")
        .orderBy(F.desc("score"), "chunk_id")
        .limit(count)
    )


def main() -> None:
    """Reads the arguments and prints the answer."""
    parser = argparse.ArgumentParser(description="Show the chunks nearest to a question.")
    parser.add_argument("--config", required=True)
    parser.add_argument("question")
    arguments = parser.parse_args()
    settings = load_settings(arguments.config)
    spark = get_session(settings.spark, quiet=True)
    print(f"\nNearest to: {arguments.question}\n")
    for row in nearest_chunks(spark, settings, arguments.question).collect():
        print(f"{row.score:.3f}  {row.doc_id}")
        print(textwrap.indent(textwrap.shorten(row.text, 150, placeholder=" ..."), "       "))


if __name__ == "__main__":
    main()
