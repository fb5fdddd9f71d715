"""The index of a table of PostgreSQL, and the search that uses it."""

from typing import TYPE_CHECKING

from spark_jobs.postgresql_columns import MOST_INDEXED, MOST_INDEXED_HALF
from spark_jobs.postgresql_statements import beside_parameters

if TYPE_CHECKING:
    from psycopg.sql import Composed, Identifier

# pgvector's own 64 finds fewer.
_EF_CONSTRUCTION = 128


def create_index(table: "Identifier", dimension: int) -> "Composed | None":
    """Makes the index of near neighbours (HNSW). PostgreSQL chooses a name that is free.

    Args:
        table: The table.
        dimension: Numbers of an embedding.

    Returns:
        The statement: up to 2,000 numbers on the vectors, up to 4,000 in half precision; None where there can be none.
    """
    from psycopg import sql

    with_ = sql.SQL("WITH (ef_construction = {})").format(sql.Literal(_EF_CONSTRUCTION))
    if dimension <= MOST_INDEXED:
        return sql.SQL("CREATE INDEX ON {} USING hnsw (embedding vector_ip_ops) {}").format(table, with_)
    if dimension <= MOST_INDEXED_HALF:
        half = sql.SQL("((embedding::halfvec({})) halfvec_ip_ops)").format(sql.Literal(dimension))
        return sql.SQL("CREATE INDEX ON {} USING hnsw {} {}").format(table, half, with_)
    return None


def nearest_ids(table: "Identifier", dimension: int) -> "Composed":
    """Finds the nearest rows through the index, where there is one.

    Args:
        table: The table.
        dimension: Numbers of an embedding.

    Returns:
        The statement; its parameters are a vector in pgvector's text form, and the number of hits. `<#>` is the dot
        product with its sign turned, so the least is the best.
    """
    from psycopg import sql

    by: sql.Composable = sql.SQL("embedding <#> %s::vector")
    if MOST_INDEXED < dimension <= MOST_INDEXED_HALF:
        half = sql.SQL("halfvec({})").format(sql.Literal(dimension))
        by = sql.SQL("embedding::{0} <#> %s::{0}").format(half)
    return sql.SQL("SELECT chunk_id::text FROM {} ORDER BY {} LIMIT %s").format(beside_parameters(table), by)
