"""`embedlake search` without a question: a prompt on a terminal, lines from anywhere else."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sysconfig import get_path

import pytest

from tests.support.command import Command
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

# The fake model gives equal texts equal vectors.
TEXTS = {"owl": "Owls hunt at night.", "bee": "Bees dance.", "ant": "Ants carry leaves."}
# Each row takes so long that there is time to press a key.
SLOW = "reflect('java.lang.Thread', 'sleep', 1500L) is not null"
PROMPT = "search> "
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


@pytest.fixture
def settings(command: Command, write_json: Callable[..., Path], write_settings: Callable[..., Path]) -> Path:
    path = write_settings(write_json([{"id": key, "text": text} for key, text in TEXTS.items()]))
    command.embed(path)
    return path


@pytest.fixture
def terminal(environment: dict[str, str], settings: Path, tmp_path: Path) -> Iterator[Terminal]:
    program = str(Path(get_path("scripts")) / "embedlake")
    opened = Terminal([program, "search", "--config", str(settings), "-k1", "--where", SLOW], environment, tmp_path)
    yield opened
    opened.kill()


# Worth its seconds: only a process on a terminal has keys, signals and a line that can be edited.
def test_the_prompt_answers_until_ctrl_d(terminal: Terminal) -> None:
    assert "type a question to search toy.main" in terminal.until(PROMPT)
    terminal.press("Bees dance.\n")
    assert "1  1.000  bee [0:11]" in terminal.until(PROMPT)

    terminal.press("Ants carry leaves.\n")
    terminal.until("leaves.")
    terminal.press(CTRL_C)
    assert "1.000" not in terminal.until(PROMPT)

    # The line before is found again, and what is typed after a line was cleared stands alone.
    terminal.press("nonsense")
    terminal.until("nonsense")
    # Python's `input` misses a signal that comes between two keys, until the next one is pressed.
    time.sleep(1)
    terminal.press(CTRL_C)
    terminal.until(PROMPT)
    terminal.press(UP + "\n")
    assert "1  1.000  ant [0:18]" in terminal.until(PROMPT)

    terminal.press("\n")
    assert terminal.until(PROMPT).strip() == PROMPT.strip()
    terminal.press("\N{ZERO WIDTH SPACE}\n")
    assert "embedlake: the question is empty. Write a question." in terminal.until(PROMPT)
    terminal.press("FAKE-ENCODER-RAISES\n")
    assert "embedlake: query 'question' cannot be embedded: model_error" in terminal.until(PROMPT)

    terminal.press("Owls hunt at night.\n")
    assert "1  1.000  owl [0:19]" in terminal.until(PROMPT)
    terminal.press(CTRL_D)
    assert terminal.ended() == 0


def test_lines_of_standard_input_are_answered_in_turn(command: Command, settings: Path) -> None:
    lines = b"Bees dance.\n\n  Ants carry leaves.\r\n"
    done = command("search", "--config", settings, "-k1", "--json", stdin=lines)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(hit["question"], hit["rank"], hit["doc_id"]) for hit in found] == [(1, 1, "bee"), (3, 1, "ant")]


def test_a_line_that_is_no_question_leaves_the_others(command: Command, settings: Path) -> None:
    lines = b"caf\xe9\n" + b"owl " * 300_000 + b"\nBees dance."
    done = command("search", "--config", settings, "-k1", stdin=lines)
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == "  1  1.000  bee [0:11]"
    assert done.stderr.splitlines() == [
        "embedlake: the question is not valid UTF-8. Write it in UTF-8.",
        "embedlake: the question has 1,199,999 characters; at most 1,000,000 are read. Shorten it.",
    ]
