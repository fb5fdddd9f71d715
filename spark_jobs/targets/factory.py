"""Opens the target that `--to` names; each kind is imported only when it is used."""

from pathlib import Path
from typing import assert_never

from spark_jobs.targets.address import Address, PostgresqlAddress, parse_address
from spark_jobs.targets.target import Target


def open_target(text: str) -> Target:
    """Opens the target that `--to` names, without accessing it yet.

    Args:
        text: One of the forms in `address.FORMS`.

    Returns:
        The target.

    Raises:
        InputError: The text matches none of the forms, or a package that the kind needs is not installed.
    """
    address = parse_address(text)
    if isinstance(address, PostgresqlAddress):
        from spark_jobs.targets.postgresql.target import PostgresqlTarget

        return PostgresqlTarget(address)
    return _open(address)


def target_name(text: str) -> str:
    """Returns the unique name of a target, which may be printed and stored because it has no credentials.

    Args:
        text: One of the forms in `address.FORMS`.

    Returns:
        The name: folders absolute, with links resolved; PostgreSQL servers with what libpq's environment adds.

    Raises:
        InputError: The text matches none of the forms.
    """
    return str(parse_address(text))


def _open(address: Address) -> Target:
    if address.kind == "parquet":
        from spark_jobs.targets.parquet import ParquetTarget

        return ParquetTarget(Path(address.location))
    if address.kind == "lancedb":
        from spark_jobs.targets.lance import LanceTarget

        return LanceTarget(address)
    if address.kind == "qdrant":
        from spark_jobs.targets.qdrant import QdrantTarget

        return QdrantTarget(address)
    from spark_jobs.targets.index import IndexTarget

    if address.kind == "faiss":
        from spark_jobs.targets.faiss_index import FaissKind

        return IndexTarget(Path(address.location), FaissKind())
    if address.kind == "usearch":
        from spark_jobs.targets.usearch_index import UsearchKind

        return IndexTarget(Path(address.location), UsearchKind())
    # mypy refuses a kind that has no branch above.
    assert_never(address.kind)
