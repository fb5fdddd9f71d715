"""What search gives back: the chunks nearest to each query."""

from pyspark.sql.types import FloatType, IntegerType, LongType, StringType, StructField, StructType

from schemas.table import column

# As workers find them: the query by its number.
PARTIAL_HITS = StructType(
    [
        StructField("query", LongType()),
        StructField("score", FloatType()),
        StructField("chunk_id", StringType()),
        StructField("doc_id", StringType()),
    ]
)
RANKED = (
    column("query_id", StringType(), "id of the query"),
    column("rank", IntegerType(), "place of the hit among the query's, from 1"),
    column("score", FloatType(), "dot product of query and chunk; for unit vectors their cosine"),
)
