"""Of an error, the one line that names the cause is shown."""

import pytest

from spark_jobs.runtime.spark_errors import cause_of

PY4J = "An error occurred while calling o149.create.\n: java.io.IOException: "


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("plain", "plain"),
        (
            "\n[PARSE_ERROR] Syntax error at end of input.\n\n== SQL ==\nid =",
            "[PARSE_ERROR] Syntax error at end of input.",
        ),
        (PY4J + "[DELTA_NO_LOG_PATH] Cannot create it\n\tat org.apache.Spark", "[DELTA_NO_LOG_PATH] Cannot create it"),
        (PY4J + "No space left on device\n\tat java.base", "java.io.IOException: No space left on device"),
        ("", "RuntimeError"),
    ],
)
def test_the_line_that_names_the_cause_is_kept(message: str, shown: str) -> None:
    assert cause_of(RuntimeError(message)) == shown
