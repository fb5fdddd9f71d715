"""The systems that vectors are exported to: what each of them can do, and how `--to` names one."""

from pathlib import Path

from spark_jobs.targets.address import Address, PostgresqlAddress, parse
from spark_jobs.targets.target import Target


def open_target(text: str) -> Target:
    """Opens the target that `--to` names, without touching it yet.

    Args:
        text: One of `target_address.FORMS`.

    Returns:
        The target.

    Raises:
        InputError: The text has none of the forms, or a package that the kind needs is not installed.
    """
    address = parse(text)
    if isinstance(address, PostgresqlAddress):
        from spark_jobs.targets.postgresql.target import PostgresqlTarget

        return PostgresqlTarget(address)
    return _opened(address)


def _opened(address: Address) -> Target:
    if address.kind == "parquet":
        from spark_jobs.targets.parquet import ParquetTarget

        return ParquetTarget(Path(address.place))
    if address.kind == "lancedb":
        from spark_jobs.targets.lance import LanceTarget

        return LanceTarget(address)
    if address.kind == "qdrant":
        from spark_jobs.targets.qdrant import QdrantTarget

        return QdrantTarget(address)
    from spark_jobs.targets.index import IndexTarget

    if address.kind == "faiss":
        from spark_jobs.targets.faiss_index import FaissKind

        return IndexTarget(Path(address.place), FaissKind())
    from spark_jobs.targets.usearch_index import UsearchKind

    return IndexTarget(Path(address.place), UsearchKind())


def printed(text: str) -> str:
    """Names a target so that the name may be printed and stored: it has no credentials, and means one place.

    Args:
        text: One of `target_address.FORMS`.

    Returns:
        The name: folders absolute, with links resolved; a PostgreSQL server as libpq's environment completes it.

    Raises:
        InputError: The text has none of the forms.
    """
    return str(parse(text))
