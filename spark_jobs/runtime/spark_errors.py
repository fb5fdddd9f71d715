"""The cause of an error, in one line without data: messages of Spark, Java and Python quote rows, ids and settings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import PySparkException

from schemas.errors import EmbedlakeError, InputError
from spark_jobs.runtime.cluster import cluster_fault
from spark_jobs.runtime.object_stores import StoreFault, find_fault

# Parameters of conditions that hold names, types, properties, paths, versions and sizes, never values or SQL.
_HARMLESS_NAMES = """
    objectName proposal relationName tableName table viewName schemaName catalogName catalog plugin namespace
    sessionCatalog identifier columnName colName column columnPath fieldName fieldNames fieldPath currentField
    updateField name referenceNames routineName functionName funcName func alternative provider className class
    dataType sourceType targetType srcType type requiredType expectedType actualType leftType rightType left right
    inputType actualDataType currentDataType updateDataType fromType toType toSqlType jsonType columnType
    config ansiConfig confName configKey configuration optionName option failFastMode feature constraintName
    path paths filePath fileName tablePath logPath location fileSystemClass method
    version startVersion endVersion earliestVersion latestVersion expectedNum actualNum systemMemory minSystemMemory
    field_name data_type arg_name arg_type obj_type func_name package_name
"""
_HARMLESS = frozenset(_HARMLESS_NAMES.split())
# The token at which a statement is wrong: a literal of the statement may be data, a word or sign is not.
_TOKEN = re.compile(r"end of input|'[^\w'\"]{1,3}'|'[A-Za-z_]\w*'")
# Its path is that of the table that is written; the cause is another.
_WRAPPERS = ("TASK_WRITE_FAILED",)
_WORKER = "PYTHON_EXCEPTION"

# Java's errors whose messages hold names of files, hosts and classes, never values.
_TELLING = re.compile(
    r"java\.io\.(?:FileNotFoundException|EOFException)|java\.util\.zip\.ZipException"
    r"|java\.nio\.file\.(?:NoSuchFile|AccessDenied|FileAlreadyExists|NotDirectory|DirectoryNotEmpty)Exception"
    r"|java\.net\.(?:Connect|UnknownHost|NoRouteToHost|SocketTimeout)Exception"
    r"|java\.lang\.(?:ClassNotFoundException|NoClassDefFoundError|NoSuchMethodError|OutOfMemoryError)"
    r"|org\.apache\.hadoop\.security\.AccessControlException"
    r"|org\.apache\.hadoop\.fs\.(?:Checksum|UnsupportedFileSystem|ParentNotDirectory|FileAlreadyExists)Exception"
)
# What other errors may repeat of their messages: words of operating systems and readers.
_KNOWN_WORDS = re.compile(
    r"No space left on device|Read-only file system|Permission denied|Disk quota exceeded|Too many open files"
    r"|Input/output error|Stale file handle|Broken pipe|Connection (?:refused|reset)|is not a Parquet file"
    r"|Not in GZIP format|Could not parse Master URL|Cannot find catalog plugin class"
)
_CAUSED_BY = re.compile(
    r"^Caused by: ([\w.$]+(?:Exception|Error))(?:: (?:\[([A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*)\])?(.*))?$", re.MULTILINE
)
_TRACEBACK = "Traceback (most recent call last):"
_PYTHON_ERROR = re.compile(r"((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Invalid|Interrupt|Exit))(?:: (.*))?")
# Errors on workers whose messages are ours, or name a package.
_OUR_ERRORS = ("schemas.errors.InputError", "ModuleNotFoundError")

# `abfss://container@account` names no user, and `part-?.json` no query.
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*:[^/@\s]*(?=@)|(?<=\?)[^?\s]*=\S*")
_MOST_CHARACTERS, _MOST_CAUSES = 300, 20


@dataclass(frozen=True)
class _Link:
    """One error of a chain: its class, Spark's name for it, parameters and SQL state, a message that may hold data."""

    kind: str
    condition: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    state: str = ""


def cause_of(error: BaseException) -> str:
    """Says in one line what is wrong, without values, texts, SQL or secrets.

    Args:
        error: Any error. Of errors from Spark and Java, their causes count too.

    Returns:
        The whole message of our own errors. Of others, the conditions with harmless parameters such as names, types and
        paths; of errors without a condition their class, and the message only where its kind never holds data. Of an
        object store what is wrong, and what to do.
    """
    if isinstance(error, EmbedlakeError):
        return str(error)
    of_cluster = cluster_cause(error)
    if of_cluster is not None:
        return of_cluster
    links = _chain(error)
    if not links:
        return _python_cause(error)
    fault = _fault_of(links)
    if fault is not None:
        return str(fault)
    last = max((number for number, link in enumerate(links) if link.condition is not None), default=-1)
    named, tail = [link for link in links if link.condition is not None], links[last + 1 :]
    told = [link for link in named if link.condition not in _WRAPPERS] or named
    told += [link for link in tail if _harmless_words(link)] or tail[-1:]
    return ", caused by ".join(dict.fromkeys(map(_told, told)))


def cluster_cause(error: BaseException) -> str | None:
    """Says in two sentences what is wrong with the cluster and what to do; None if it is none of the known faults."""
    # A message that quotes a row could say anything.
    if any(_is_of_data(link) for link in _chain(error)):
        return None
    text = ""
    # A dead session cannot answer.
    with suppress(Exception):
        text = str(error)
    return cluster_fault(text)


def store_fault(error: BaseException) -> StoreFault | None:
    """Finds what is wrong with an object store, if that is what an error is about."""
    return _fault_of(_chain(error))


def _fault_of(links: Sequence[_Link]) -> StoreFault | None:
    return find_fault(f"{link.kind}: {link.message}" for link in links)


def is_connection_lost(error: BaseException) -> bool:
    """Whether Python lost the process that Spark runs in."""
    # By its name, because the client of Spark Connect comes without Py4J.
    return isinstance(error, ConnectionError) or type(error).__name__ == "Py4JNetworkError"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns errors of what is read inside into faults of the user's: damaged files, and values that do not fit.

    Args:
        what: What is read, for the message.

    Raises:
        InputError: A file cannot be read, or an expression of the user's fails for a value.
    """
    try:
        yield
    except EmbedlakeError:
        raise
    except Exception as error:  # raised by PySpark, Py4J or Connect
        if any(_is_of_data(link) for link in _chain(error)):
            raise unreadable(what, error) from error
        raise


def unreadable(what: str, error: BaseException) -> InputError:
    """Makes the fault that says why reading stopped."""
    cause = cause_of(error).rstrip(".")
    return InputError(f"reading {what} failed part-way: {cause}. Repair or remove what cannot be read, and run again.")


def _is_of_data(link: _Link) -> bool:
    # SQL's class 22 is that of data exceptions, such as a cast of a word to a number.
    return (link.condition or "").startswith("FAILED_READ_FILE") or link.state.startswith("22")


def worker_message(error: BaseException) -> str | None:
    """Finds the message of an error that a worker raised on purpose, or because it lacks a package; else None."""
    found = _worker_error(error)
    return found[1] if found is not None and found[0] in _OUR_ERRORS else None


def _chain(error: BaseException) -> list[_Link]:
    """Lists an error of Spark or Java and its causes, the outermost first; nothing for other errors."""
    # Neither over Connect nor of an error that PySpark itself raises is there an object of Java.
    java = getattr(error, "_origin", None) or getattr(error, "java_exception", None)
    links: list[_Link] = []
    # A dead session cannot answer.
    with suppress(Exception):
        if java is not None:
            links = list(_java_chain(java))
        elif isinstance(error, PySparkException):
            links = list(_pyspark_chain(error))
    return links


def _java_chain(java: Any) -> Iterator[_Link]:
    for _ in range(_MOST_CAUSES):
        if java is None:
            return
        condition, parameters, state = None, {}, ""
        with suppress(Exception):  # Java's own errors have none of these
            condition = java.getCondition()
            parameters = dict(java.getMessageParameters())
            state = java.getSqlState() or ""
        yield _Link(java.getClass().getName(), condition, parameters, java.getMessage() or "", state)
        java = java.getCause()


def _pyspark_chain(error: PySparkException) -> Iterator[_Link]:
    kind, status = type(error).__name__, getattr(error, "getGrpcStatusCode", None)
    if error.getCondition() is not None:
        parameters = error.getMessageParameters() or {}
        yield _Link(kind, error.getCondition(), parameters, state=error.getSqlState() or "")
    elif kind == "PythonException":
        yield _Link(kind, _WORKER, {"traceback": str(error)})
    else:
        yield _Link(f"{kind} ({status().name})" if status is not None else kind)
    # Over Connect, the causes are known by their text alone.
    trace = getattr(error, "getStackTrace", None)
    for found in _CAUSED_BY.finditer((trace() if trace is not None else None) or ""):
        yield _Link(found[1], found[2], {}, found[3] or "")


def _told(link: _Link) -> str:
    if link.condition is None:
        words = _harmless_words(link)
        return f"{link.kind}: {words}" if words else link.kind
    shown = [f"{name} {_plain(value)}" for name, value in link.parameters.items() if name in _HARMLESS and value]
    if link.condition == _WORKER:
        found = _last_error(link.parameters.get("traceback", ""))
        shown += [found[0]] if found is not None else []
    if link.condition.startswith("PARSE_") and _TOKEN.fullmatch(link.parameters.get("error", "")):
        shown.append(f"at {link.parameters['error']}")
    return f"[{link.condition}] {', '.join(shown)}".rstrip()


def _harmless_words(link: _Link) -> str:
    if _TELLING.fullmatch(link.kind):
        return _plain(link.message)
    known = _KNOWN_WORDS.search(link.message)
    return known[0] if known is not None else ""


def _plain(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return _CREDENTIALS.sub("...", line)[:_MOST_CHARACTERS]


def _python_cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, ImportError):
        return str(error)
    return type(error).__name__


def _worker_error(error: BaseException) -> tuple[str, str] | None:
    text = str(error)
    # Anything else that contains a traceback quotes it.
    if type(error).__name__ != "PythonException" and "org.apache.spark.api.python.PythonException" not in text:
        return None
    return _last_error(text)


def _last_error(text: str) -> tuple[str, str] | None:
    """Finds class and message of the error with which a worker's traceback ends; the lines of its code are indented."""
    _, header, trace = text.rpartition(_TRACEBACK)
    lines = (line for line in trace.splitlines()[1:] if line and not line[0].isspace())
    found = _PYTHON_ERROR.fullmatch(next(lines, "")) if header else None
    return (found[1], found[2] or "") if found is not None else None
