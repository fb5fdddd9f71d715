"""The statements that an export sends to PostgreSQL. Names are quoted by psycopg, values are parameters."""

from typing import TYPE_CHECKING

from spark_jobs.targets.postgresql.columns import MAX_INDEXED, MAX_INDEXED_HALF, Column

if TYPE_CHECKING:
    from psycopg.sql import SQL, Composed, Identifier

_STAGED = "embedlake_rows"
FIND_EXTENSION = (
    "SELECT n.nspname, e.extversion FROM pg_catalog.pg_extension e "
    "JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
)
FIND_SCHEMA = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
FIND_TABLE = (
    "SELECT c.relkind::text, pg_catalog.obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
)
FIND_COLUMNS = (
    "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a "
    "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped"
)
# The same of a table by its quoted name.
FIND_COLUMNS_OF = (
    "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute "
    "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
)
_ONE_TABLE = (
    "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "AND n.nspname = %s AND c.relname = %s"
)
# What others attached to a table, by kind. Constraints are those that embedlake does not create: not the primary key,
# and not the NOT NULL that it brings.
FIND_ATTACHED = (
    f"WITH t AS (SELECT c.oid, c.relrowsecurity FROM {_ONE_TABLE}) "
    "SELECT 'row-level security' FROM t WHERE relrowsecurity UNION "
    "SELECT 'row-level security' FROM t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid UNION "
    "SELECT 'triggers' FROM t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal UNION "
    "SELECT 'rules' FROM t JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid UNION "
    "SELECT 'indexes' FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid "
    "JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = x.relam "
    "WHERE NOT i.indisprimary AND m.amname <> 'hnsw' UNION "
    "SELECT 'constraints' FROM t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid "
    "WHERE k.contype NOT IN ('p', 'n') UNION "
    "SELECT 'publications' FROM t JOIN pg_catalog.pg_publication_rel b ON b.prrelid = t.oid UNION "
    "SELECT 'statistics' FROM t JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = t.oid"
)
# The owner of a table, if that is not the user.
FIND_OTHER_OWNER = (
    f"SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM {_ONE_TABLE} "
    "WHERE pg_catalog.pg_get_userbyid(c.relowner) <> current_user"
)
# Grants on a table and its columns: right, to whom (null for everybody), with grant option, on which column.
FIND_RIGHTS = (
    f"WITH t AS (SELECT c.oid, c.relowner, c.relacl FROM {_ONE_TABLE}), "
    "g AS (SELECT t.relowner, a.*, NULL::text AS attname FROM t, pg_catalog.aclexplode(t.relacl) a UNION ALL "
    "SELECT t.relowner, a.*, f.attname::text FROM t JOIN pg_catalog.pg_attribute f ON f.attrelid = t.oid "
    "AND NOT f.attisdropped, pg_catalog.aclexplode(f.attacl) a) "
    "SELECT privilege_type, CASE WHEN grantee <> 0 THEN pg_catalog.pg_get_userbyid(grantee) END, is_grantable, attname "
    "FROM g WHERE grantee <> relowner"
)
# Who but the owner has rights on a table, by its quoted name.
FIND_GRANTEES = (
    "SELECT DISTINCT CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee) END "
    "FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a "
    "WHERE c.oid = %s::regclass AND a.grantee <> c.relowner"
)
# One export at a time, from any machine; the lock ends with the transaction.
TRY_LOCK = "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))"
DELETE_ALL = "DELETE FROM {}"
COUNT = "SELECT count(*) FROM {}"
DROP = "DROP TABLE {}"
ANALYZE = "ANALYZE {}"
VACUUM = "VACUUM (ANALYZE) {}"

# pgvector's default of 64 gives a lower recall.
_EF_CONSTRUCTION = 128


def create_table(table: "Identifier", columns: list[Column]) -> "Composed":
    """Creates the table."""
    from psycopg import sql

    parts = [sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.full_type)) for column in columns]
    return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (chunk_id))").format(table, sql.SQL(", ").join(parts))


def comment_on(table: "Identifier", text: str) -> "Composed":
    """Sets the table's comment."""
    from psycopg import sql

    # COMMENT takes no parameters: psycopg quotes the text.
    return sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(text))


def create_staged(table: "Identifier") -> "Composed":
    """Creates the temporary table for arriving rows, with the columns of another."""
    from psycopg import sql

    return sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP").format(sql.Identifier(_STAGED), table)


def empty_staged() -> "Composed":
    """Empties the temporary table."""
    from psycopg import sql

    return sql.SQL("TRUNCATE {}").format(sql.Identifier("pg_temp", _STAGED))


def copy_staged(columns: list[Column]) -> "Composed":
    """Fills the temporary table."""
    from psycopg import sql

    staged = sql.Identifier("pg_temp", _STAGED)
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(staged, _names(columns))


def upsert_staged(table: "Identifier", columns: list[Column]) -> "Composed":
    """Merges the temporary table's rows into the table."""
    from psycopg import sql

    assign = sql.SQL("{0} = EXCLUDED.{0}")
    updates = [assign.format(sql.Identifier(column.name)) for column in columns if column.name != "chunk_id"]
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT (chunk_id) DO UPDATE SET {}").format(
        table, _names(columns), _names(columns), sql.Identifier("pg_temp", _STAGED), sql.SQL(", ").join(updates)
    )


def on_table(statement: str, table: "Identifier") -> "Composed":
    """Builds a statement from `DELETE_ALL`, `COUNT`, `DROP`, `ANALYZE` or `VACUUM`."""
    from psycopg import sql

    return sql.SQL(statement).format(table)


def delete_ids(table: "Identifier") -> "Composed":
    """Deletes rows; the parameter is a list of ids."""
    from psycopg import sql

    return sql.SQL("DELETE FROM {} WHERE chunk_id = ANY(%s::uuid[])").format(_beside_parameters(table))


def page_held(table: "Identifier", is_first: bool) -> "Composed":
    """Lists a page of rows by the primary key; parameters: the last id, unless `is_first`, and the number of rows."""
    from psycopg import sql

    after = sql.SQL("" if is_first else "WHERE chunk_id > %s::uuid")
    name = _beside_parameters(table)
    return sql.SQL("SELECT chunk_id::text, run_id FROM {} {} ORDER BY chunk_id LIMIT %s").format(name, after)


def create_index(table: "Identifier", dimension: int) -> "Composed | None":
    """Creates the index of near neighbors (HNSW), under a free name that PostgreSQL chooses.

    Up to 2,000 dimensions it is on the vectors, up to 4,000 on their half precision; above, it cannot be created.
    """
    from psycopg import sql

    with_ = sql.SQL("WITH (ef_construction = {})").format(sql.Literal(_EF_CONSTRUCTION))
    if dimension <= MAX_INDEXED:
        return sql.SQL("CREATE INDEX ON {} USING hnsw (embedding vector_ip_ops) {}").format(table, with_)
    if dimension <= MAX_INDEXED_HALF:
        half = sql.SQL("((embedding::halfvec({})) halfvec_ip_ops)").format(sql.Literal(dimension))
        return sql.SQL("CREATE INDEX ON {} USING hnsw {} {}").format(table, half, with_)
    return None


def nearest_ids(table: "Identifier", dimension: int) -> "Composed":
    """Finds the nearest rows, through the index if one exists.

    Its parameters are a vector in pgvector's text form and the number of hits. `<#>` is the negative dot product, so
    the lowest is the best.
    """
    from psycopg import sql

    by: sql.Composable = sql.SQL("embedding <#> %s::vector")
    if MAX_INDEXED < dimension <= MAX_INDEXED_HALF:
        half = sql.SQL("halfvec({})").format(sql.Literal(dimension))
        by = sql.SQL("embedding::{0} <#> %s::{0}").format(half)
    return sql.SQL("SELECT chunk_id::text FROM {} ORDER BY {} LIMIT %s").format(_beside_parameters(table), by)


def _names(columns: list[Column]) -> "Composed":
    from psycopg import sql

    return sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)


def _beside_parameters(table: "Identifier") -> "SQL":
    """Quotes a table's name for a statement with parameters, where `%` begins one."""
    from psycopg import sql

    return sql.SQL(table.as_string(None).replace("%", "%%"))
