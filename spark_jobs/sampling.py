"""A sample of a library's chunks, the same for the same library."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas.staged_chunks import CHUNK_FIELDS
from spark_jobs.settings import Settings
from spark_jobs.sources import Source
from spark_jobs.transforms import as_documents
from udfs.chunk_documents import chunk_documents
from udfs.specs import ChunkSpec, ModelSpec


def sample_chunks(settings: Settings, source: Source, chunking: ChunkSpec, model: ModelSpec, count: int) -> DataFrame:
    """Cuts documents that are drawn by a hash of their id: neither the first file alone nor the shortest documents.

    Args:
        settings: The whole configuration.
        source: The opened source.
        chunking: The chunking rule.
        model: Whose tokenizer counts.
        count: Most chunks, and most documents that are cut for them.

    Returns:
        Column text.
    """
    documents = as_documents(source.rows, settings.source, ())
    drawn = documents.where(F.col("text").isNotNull()).orderBy(F.xxhash64("doc_id"), "doc_id").limit(count)
    cut = chunk_documents(settings.library, chunking, model)
    chunks = drawn.select("doc_id", "text").mapInArrow(cut, StructType(list(CHUNK_FIELDS)))
    return chunks.where(F.col("text").isNotNull()).select("text").limit(count)
