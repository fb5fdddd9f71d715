"""Of an error, its cause is shown in one line, and nothing of the data that it quotes."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from pyspark.errors import PySparkException, PySparkTypeError

from schemas.errors import InputError
from spark_jobs.runtime.command import explained
from spark_jobs.runtime.spark_errors import cause_of, cluster_cause, worker_message

SECRET = "Maria, 0171 555"
CAST = {"expression": f"'{SECRET}'", "sourceType": '"STRING"', "targetType": '"INT"', "ansiConfig": '"spark.ansi"'}
CAST_SHOWN = '[CAST_INVALID_INPUT] sourceType "STRING", targetType "INT", ansiConfig "spark.ansi"'
READ = {"path": "file:///docs/a.jsonl"}
READ_SHOWN = "[FAILED_READ_FILE.NO_HINT] path file:///docs/a.jsonl"


@dataclass
class Java:
    """An error as Py4J hands it out; only errors of Spark and Delta know conditions."""

    kind: str
    condition: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    message: str = SECRET
    cause: "Java | None" = None

    def getClass(self) -> Any:
        return self

    def getName(self) -> str:
        return self.kind

    def getMessage(self) -> str:
        return self.message

    def getCause(self) -> "Java | None":
        return self.cause

    def getCondition(self) -> str | None:
        if self.condition is None and not self.kind.startswith("org.apache.spark"):
            raise AttributeError("no such method")
        return self.condition

    def getMessageParameters(self) -> dict[str, str]:
        return self.parameters


def raised(*chain: Java) -> Exception:
    """The error that PySpark raises for an error of Java and its causes, the outermost first."""
    for outer, inner in pairwise(chain):
        outer.cause = inner
    error = RuntimeError(f"An error occurred while calling o1.x.\n: {SECRET}")
    error.java_exception = chain[0]  # type: ignore[attr-defined]
    return error


def spark(condition: str, **parameters: str) -> Java:
    return Java("org.apache.spark.SparkException", condition, parameters)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (raised(spark("CAST_INVALID_INPUT", **CAST)), CAST_SHOWN),
        # A failed job: the innermost condition is the cause, and a file that cannot be read stays named.
        (raised(Java("org.apache.spark.SparkException"), spark("CAST_INVALID_INPUT", **CAST)), CAST_SHOWN),
        (raised(spark("TASK_WRITE_FAILED", path="/lake/plan"), spark("CAST_INVALID_INPUT", **CAST)), CAST_SHOWN),
        (
            raised(
                spark("FAILED_READ_FILE.NO_HINT", **READ),
                spark("MALFORMED_RECORD_IN_PARSING", badRecord=SECRET, failFastMode="FAILFAST"),
                Java("java.lang.NumberFormatException"),
            ),
            f"{READ_SHOWN}, caused by [MALFORMED_RECORD_IN_PARSING] failFastMode FAILFAST, caused by "
            "java.lang.NumberFormatException",
        ),
        (
            raised(
                spark("FAILED_READ_FILE.NO_HINT", **READ),
                Java("java.lang.RuntimeException", message=f"file:/a is not a Parquet file, but found [{SECRET}]"),
            ),
            f"{READ_SHOWN}, caused by java.lang.RuntimeException: is not a Parquet file",
        ),
        (raised(spark("USER_RAISED_EXCEPTION", errorMessage=SECRET)), "[USER_RAISED_EXCEPTION]"),
        (
            raised(spark("UNRESOLVED_COLUMN.WITH_SUGGESTION", objectName="`idd`", proposal="`id`, `text`")),
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] objectName `idd`, proposal `id`, `text`",
        ),
        (raised(spark("PARSE_SYNTAX_ERROR", error="end of input", hint="")), "[PARSE_SYNTAX_ERROR] at end of input"),
        (raised(spark("PARSE_SYNTAX_ERROR", error=f"''{SECRET}''")), "[PARSE_SYNTAX_ERROR]"),
        (raised(spark("PATH_NOT_FOUND", path="ftp://me:hush@host/a")), "[PATH_NOT_FOUND] path ftp://...@host/a"),
        (
            raised(Java("java.io.IOException", message="x: No space left on device")),
            "java.io.IOException: No space left on device",
        ),
        (
            raised(
                Java("java.lang.RuntimeException"), Java("java.io.FileNotFoundException", message="/docs/a\n\tat x")
            ),
            "java.io.FileNotFoundException: /docs/a",
        ),
        (raised(Java("java.lang.IllegalStateException")), "java.lang.IllegalStateException"),
        (RuntimeError(SECRET), "RuntimeError"),
        (KeyError(SECRET), "KeyError"),
        (OSError(28, "No space left on device", "/lake"), "No space left on device: /lake"),
        (InputError("our own words"), "our own words"),
        (
            PySparkTypeError(
                errorClass="FIELD_DATA_TYPE_UNACCEPTABLE_WITH_NAME",
                messageParameters={"field_name": "n", "data_type": "int", "obj": SECRET, "obj_type": "str"},
            ),
            "[FIELD_DATA_TYPE_UNACCEPTABLE_WITH_NAME] field_name n, data_type int, obj_type str",
        ),
    ],
)
def test_the_cause_is_told_without_any_value(error: Exception, shown: str) -> None:
    assert cause_of(error) == shown


def test_a_fault_of_a_cluster_is_told_unless_it_may_be_the_value_of_a_row() -> None:
    words = 'java.io.IOException: Cannot run program "/opt/python": error=2, No such file or directory'
    assert cause_of(RuntimeError(f"Job aborted. {words}")).startswith("executors cannot start /opt/python, which")

    class Quoting(PySparkException):
        def getSqlState(self) -> str:
            return "22018"

    quoting = Quoting(f"The value '{words}' cannot be cast", errorClass="CAST_INVALID_INPUT", messageParameters={})
    assert words in str(quoting) and cluster_cause(quoting) is None
    assert "/opt/python" not in cause_of(quoting)


def test_over_connect_the_causes_are_found_in_the_server_s_stack() -> None:
    from pyspark.errors.exceptions.connect import SparkConnectGrpcException

    trace = (
        "org.apache.spark.SparkException\n\tat org.apache.X\n"
        f"Caused by: org.apache.spark.SparkNumberFormatException: [CAST_INVALID_INPUT] The value '{SECRET}'\n"
    )
    error = SparkConnectGrpcException(f"Task failed: {SECRET}", server_stacktrace=trace)
    assert cause_of(error) == "[CAST_INVALID_INPUT]"
    lost = SparkConnectGrpcException(f"no answer: {SECRET}")
    assert cause_of(lost) == "SparkConnectGrpcException (UNKNOWN)"


TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in embed\n    raise it\n'


@pytest.mark.parametrize(
    ("last_lines", "message", "cause"),
    [
        ("schemas.errors.InputError: the model is bad\n", "the model is bad", "schemas.errors.InputError"),
        ("ModuleNotFoundError: No module named 'torch'\n", "No module named 'torch'", "ModuleNotFoundError"),
        (f"pyarrow.lib.ArrowInvalid: Could not convert '{SECRET}'\n", None, "pyarrow.lib.ArrowInvalid"),
        (f"ValueError: it says\nschemas.errors.InputError: {SECRET}\n", None, "ValueError"),
        (f"{SECRET}: x\n", None, ""),
    ],
)
def test_of_an_error_on_a_worker_only_our_own_message_is_told(last_lines: str, message: str | None, cause: str) -> None:
    error = raised(spark("PYTHON_EXCEPTION", traceback=TRACE + last_lines))
    assert cause_of(error) == f"[PYTHON_EXCEPTION] {cause}".rstrip()
    text = f"org.apache.spark.api.python.PythonException: {TRACE}{last_lines}\n\tat org.apache.X"
    assert worker_message(RuntimeError(text)) == message


def test_a_traceback_that_is_quoted_is_not_a_worker_s() -> None:
    quoted = f"[CAST_INVALID_INPUT] The value '{TRACE}schemas.errors.InputError: {SECRET}\n'"
    assert worker_message(RuntimeError(quoted)) is None


@pytest.mark.parametrize(("status", "exit_code"), [(403, 2), (503, 1)])
def test_what_an_object_store_answers_is_told_in_our_words(status: int, exit_code: int) -> None:
    said = f"getFileStatus on s3a://lake/t: software.amazon.awssdk.S3Exception: {SECRET} (Status Code: {status}, X)"
    error = raised(Java("java.lang.RuntimeException"), Java("java.io.IOException", message=said))
    assert cause_of(error).startswith("s3a://lake ") and SECRET not in cause_of(error)
    assert explained(error) == (cause_of(error), exit_code)
