"""Why a document's text cannot be embedded, as rows of a source and documents carry it."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.reasons import TOO_LARGE

# Rows of some formats have this column, of type `schemas.plan.REFUSED`. It is null where the text can be embedded.
REFUSED_COLUMN = "_refused"


def refusal(reason: str, detail: Column) -> Column:
    """Builds a refusal from one of `schemas.reasons` and what is said of the document."""
    return F.struct(F.lit(reason).alias("reason"), detail.alias("detail"))


def too_large(size: Column, limit: int, unit: str = "bytes") -> Column:
    """Builds the refusal of what is larger than a limit."""
    return refusal(TOO_LARGE, F.concat(size.cast("string"), F.lit(f" {unit}, at most {limit} are taken")))
