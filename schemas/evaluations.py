"""`evaluations`: retrieval quality measurements, append-only."""

from pyspark.sql.types import DoubleType, LongType, MapType, StringType, StructType, TimestampType

from schemas.table import Table, column

# Key in `versions`: the rule by which a figure came about, in the map that existing tables have.
IDENTICAL_IDS = "identical_ids"

EVALUATIONS = Table(
    "evaluations",
    "One row for each measure of each evaluation, append-only",
    StructType(
        [
            column(
                "evaluated_at", TimestampType(), "driver's clock at the end of the evaluation, one for all its rows"
            ),
            column("library", StringType(), "library that was searched"),
            column("space", StringType(), "space that was searched; of sentence pairs, the one that the settings name"),
            column("model_fingerprint", StringType(), "hash of everything that decides a vector"),
            column("vectors_version", LongType(), "version of vectors that was searched; null for sentence pairs"),
            column("queries", StringType(), "name of the file of queries or of sentence pairs"),
            column("queries_hash", StringType(), "SHA-256 (hex) of that file, for many have one name"),
            column("judgements", StringType(), "name of the file of judgements; null for sentence pairs"),
            column("judgements_hash", StringType(), "SHA-256 (hex) of that file"),
            column("query_count", LongType(), "queries with a judgement, or sentence pairs, that the value is over"),
            column("missing_documents", LongType(), "judged documents that the space does not hold"),
            column("measure", StringType(), "such as nDCG@10, R@100, AP@10, RR@10, overlap@10, Spearman, Pearson"),
            column("value", DoubleType(), "mean of the measure over the queries, or the correlation"),
            column("against", StringType(), "space of the library that this one was compared with"),
            column("difference", DoubleType(), "value less that of the other space"),
            column(
                "low", DoubleType(), "lower end of the difference's 95 % interval, by paired bootstrap over queries"
            ),
            column("high", DoubleType(), "its upper end"),
            column(
                "versions",
                MapType(StringType(), StringType()),
                "versions of embedlake, Python and packages; identical_ids says whether queries' own documents counted",
            ),
        ]
    ),
)
