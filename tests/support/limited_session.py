"""A Spark Connect client that refuses what serverless compute of Databricks refuses, as its documentation lists it."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql.connect.client import DefaultChannelBuilder
from pyspark.sql.connect.session import SparkSession as RemoteSession

# What a notebook or job may set there. Reading any other property is refused too.
ALLOWED = frozenset(
    {
        "spark.databricks.execution.timeout",
        "spark.sql.ansi.enabled",
        "spark.sql.files.maxPartitionBytes",
        "spark.sql.legacy.timeParserPolicy",
        "spark.sql.session.timeZone",
        "spark.sql.shuffle.partitions",
    }
)
# The client itself asks for these before it sends local rows or shows a table; the platform's own client does, too.
_OF_THE_CLIENT = (
    *("spark.sql.execution.arrow.", "spark.sql.execution.pandas.", "spark.sql.execution.pyspark."),
    *("spark.sql.execution.pythonUDF", "spark.sql.pyspark.", "spark.sql.repl.", "spark.sql.connect."),
    *("spark.sql.session.localRelation", "spark.sql.timestampType", "spark.connect.session.planCompression."),
)
_STATEMENTS = re.compile(
    r"\s*(?:(?:UN)?CACHE|SET|RESET|REFRESH|CREATE\s+GLOBAL|CLEAR\s+CACHE|MSCK)\b|.*\b(?:java_method|reflect)\s*\(",
    re.IGNORECASE | re.DOTALL,
)


def _refusal(condition: str, text: str) -> AnalysisException:
    return AnalysisException(text, errorClass=condition, messageParameters={})


class Serverless(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Refuses properties, caching, statements and resource profiles before they reach the server.

    Attributes:
        refused: What was refused, in order.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []

    def intercept_unary_unary(self, go_on: Callable[..., Any], details: Any, request: Any) -> Any:
        self._check(request)
        return go_on(details, request)

    def intercept_unary_stream(self, go_on: Callable[..., Any], details: Any, request: Any) -> Any:
        self._check(request)
        return go_on(details, request)

    def _refuse(self, what: str, condition: str) -> None:
        self.refused.append(what)
        raise _refusal(condition, f"{what} is not available.")

    def _check(self, request: Any) -> None:
        kind = type(request).__name__
        if kind == "ConfigRequest":
            for key in _keys(request.operation):
                if key not in ALLOWED and not key.startswith(_OF_THE_CLIENT):
                    self._refuse(key, "CONFIG_NOT_AVAILABLE")
        elif kind == "AnalyzePlanRequest" and request.WhichOneof("analyze") in ("persist", "unpersist"):
            self._refuse("PERSIST TABLE", "NOT_SUPPORTED_WITH_SERVERLESS")
        elif kind == "ExecutePlanRequest":
            plan = str(request.plan)
            if "create_resource_profile_command" in plan:
                self._refuse("resource profile", "NOT_SUPPORTED_WITH_SERVERLESS")
            for statement in re.findall(r'(?:query|sql): "((?:[^"\\]|\\.)*)"', plan):
                if _STATEMENTS.match(statement):
                    self._refuse(statement.split()[0].upper(), "NOT_SUPPORTED_WITH_SERVERLESS")


def _keys(operation: Any) -> Iterable[str]:
    kind = operation.WhichOneof("op_type")
    if kind == "get_all":
        return ["*"]
    chosen = getattr(operation, kind)
    return [pair.key for pair in chosen.pairs] if hasattr(chosen, "pairs") else list(chosen.keys)


@contextmanager
def limited_session(address: str) -> Iterator[tuple[SparkSession, Serverless]]:
    """Connects a session of its own to a running server, through the client that refuses."""
    limits, channel = Serverless(), DefaultChannelBuilder(address)
    channel.add_interceptor(limits)
    session: Any = RemoteSession.builder.channelBuilder(channel).create()
    try:
        yield session, limits
    finally:
        # Its `stop` would end the server of this process too; without either, the client would wait for it at the exit.
        session.client.close()
