"""Questions as people type them: at a prompt with editing and history, or one a line from standard input."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import typer

from schemas.errors import InputError, StoppedError

_PROMPT = "search> "
_NOT_UTF_8 = "the question is not valid UTF-8. Write it in UTF-8."


def answer_prompt(respond: Callable[[str], None], complain: Callable[[Exception], object]) -> None:
    """Answers questions from a terminal until its input ends.

    Ctrl-C cancels a question, or clears the line. History lasts as long as the prompt and is written nowhere, because
    questions may be confidential.

    Args:
        respond: Answers a question and shows the answer. It stops by itself when it raises KeyboardInterrupt.
        complain: Says what is wrong with a question; what it raises ends the prompt.

    Raises:
        StoppedError: Ctrl-C was pressed again while a question was being cancelled.
    """
    # Gives `input` editing and history. Not every Python has it.
    with suppress(ImportError):
        import readline  # noqa: F401
    with _plain_interrupts():
        while True:
            try:
                question = _typed()
                if question.strip():
                    respond(question)
            except EOFError:
                typer.echo(err=True)
                return
            except StoppedError:
                raise
            except KeyboardInterrupt:
                typer.echo(err=True)
            except Exception as error:
                complain(error)


def questions_of_input() -> Iterator[tuple[int, str]]:
    """Reads questions from standard input, one a line.

    Yields:
        Number of the line, from 1, and the question; blank lines are left out. Bytes that are not UTF-8 become half of
        a surrogate pair, which no question may have.
    """
    for number, line in enumerate(sys.stdin.buffer, start=1):
        question = line.decode("utf-8", "surrogateescape").strip()
        if question:
            yield number, question


def _typed() -> str:
    try:
        if sys.stdout.isatty():
            return input(_PROMPT)
        # With its output elsewhere, `input` would write the prompt there too.
        typer.echo(_PROMPT, nl=False, err=True)
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(_NOT_UTF_8) from None


@contextmanager
def _plain_interrupts() -> Iterator[None]:
    # Spark's own handler cancels every job and breaks the call that it interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
