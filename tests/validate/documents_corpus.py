"""Real documents of every kind, from the documentation and the tests of packages, and tools to compare with.

Everything is fetched once, by each registry's own client, into the folder that TEST_DOCUMENTS_FOLDER names.
"""

import gzip
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("TEST_DOCUMENTS_FOLDER", Path.home() / ".cache" / "embedlake" / "documents"))
DEBIAN = (
    "debian-policy", "developers-reference", "developers-reference-de", "developers-reference-ja",
    "developers-reference-ru", "maint-guide", "maint-guide-ja", "debmake-doc", "debian-reference-en",
    "debian-reference-zh-cn", "packaging-tutorial", "debian-faq", "debian-faq-ja", "debian-faq-ru",
    "debian-faq-zh-cn", "graphviz-doc", "gnuplot-doc", "harden-doc", "debian-history",
)  # fmt: skip
PYPI = (
    "docutils==0.23", "mail-parser==4.8.0", "markitdown==0.1.9", "nbconvert==7.17.2", "nbformat==5.11.1",
    "odfpy==1.4.1", "pypdf==7.1.1", "python-docx==1.2.0", "python-pptx==1.0.2", "sphinx==9.0.4", "trafilatura==2.3.1",
)  # fmt: skip
# Documents of all kinds that were found to be hard, kept by Apache Tika for its own tests.
MAVEN = ("org.apache.tika:tika-parsers:1.28.5:jar:tests",)
# Independent tools, and the libraries they need.
TOOLS = ("poppler-utils", "libpoppler126", "pandoc", "pandoc-data", "liblua5.3-0", "libopenjp2-7")
# Kinds by how their names end, and how many of each are taken.
KINDS = {
    "pdf": 120, "docx": 100, "pptx": 100, "xlsx": 60, "odt": 60, "html": 120, "epub": 40, "md": 50, "rst": 100,
    "txt": 60, "eml": 120, "ipynb": 60,
}  # fmt: skip
PEERS = ("kreuzberg==4.10.4", "markitdown[pdf,docx,pptx,xlsx]==0.1.9", "docling==2.143.0")
READERS = ("python-pptx==1.0.2", "openpyxl==3.1.5", "mail-parser==4.8.0")
_LARGEST = 10_000_000


def fetch_all() -> None:
    """Downloads and unpacks what is not there yet."""
    for folder in ("deb", "pypi", "maven", "files", "tools"):
        CACHE.joinpath(folder).mkdir(parents=True, exist_ok=True)
    for name in (*DEBIAN, *TOOLS):
        _debian(name, CACHE / ("tools" if name in TOOLS else "files") / name)
    for name in PYPI:
        _pypi(name, CACHE / "files" / name.replace("==", "-"))
    for artifact in MAVEN:
        _maven(artifact, CACHE / "maven" / "tests.jar")
        _once(CACHE / "files" / "tika", lambda to: zipfile.ZipFile(CACHE / "maven" / "tests.jar").extractall(to))
    _once(CACHE / "peers", _peers)
    _once(CACHE / "files" / "python", lambda to: shutil.copytree(_standard_mails(), to, dirs_exist_ok=True))


def _peers(folder: Path) -> None:
    # An environment does not move: it is made where it stays, and the folder here only says that it is.
    place = CACHE / "environment"
    subprocess.run([sys.executable, "-m", "uv", "venv", "-q", "--clear", str(place)], check=True)
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "-q",
        "--python",
        str(place / "bin" / "python"),
        *PEERS,
        *READERS,
    ]
    subprocess.run(command, check=True)


def _standard_mails() -> Path:
    # Part of Python, which some distributions pack apart.
    return Path(os.__file__).parent / "test" / "test_email" / "data"


def _once(folder: Path, make: object) -> None:
    if not folder.exists():
        beside = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        make(beside)  # type: ignore[operator]
        beside.rename(folder)


def _debian(name: str, folder: Path) -> None:
    def unpack(to: Path) -> None:
        place = CACHE / "deb"
        if not list(place.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", name], cwd=place, check=True, capture_output=True)
        subprocess.run(["dpkg", "-x", str(next(place.glob(f"{name}_*.deb"))), str(to)], check=True)
        for packed in [path for path in to.rglob("*.gz") if path.is_file()]:
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))

    _once(folder, unpack)


def _pypi(name: str, folder: Path) -> None:
    def unpack(to: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "-d", str(to), name], check=True, capture_output=True)
        for packed in to.glob("*.tar.gz"):
            with tarfile.open(packed) as file:
                file.extractall(to, filter="data")
            packed.unlink()

    _once(folder, unpack)


def _maven(artifact: str, to: Path) -> None:
    if to.exists():
        return
    where = f"-Dartifact={artifact}"
    for goal in (["dependency:get", "-Dtransitive=false"], ["dependency:copy", f"-DoutputDirectory={to.parent}/new"]):
        subprocess.run(["mvn", "-q", goal[0], where, *goal[1:]], check=True, capture_output=True)
    next(to.parent.joinpath("new").glob("*.jar")).rename(to)


def documents() -> dict[str, list[Path]]:
    """The documents of each kind; the same ones each time."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(CACHE.joinpath("files").rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST:
            kind = _kind(path)
            if kind:
                found[kind].append(path)
    chosen = {}
    for kind, paths in found.items():
        random.Random(kind).shuffle(paths)
        chosen[kind] = sorted(paths[: KINDS[kind]])
    return chosen


def _kind(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    relative = path.relative_to(CACHE / "files").as_posix()
    # These are mails whatever they are called.
    if relative.startswith("python/") or "/tests/mails/" in relative:
        return "eml" if ending in ("", "txt") or "/mails/" in relative else ""
    # docutils has its documentation and tests as .txt too.
    if ending == "txt" and "docutils" in relative:
        return ""
    ending = {"htm": "html", "xhtml": "html", "markdown": "md"}.get(ending, ending)
    return ending if ending in KINDS else ""


def tool(package: str, program: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """A program of Debian's packages that was unpacked and not installed: its command and environment."""
    libraries = sorted({str(path.parent) for path in CACHE.joinpath("tools").rglob("*.so*")})
    environment = dict(os.environ) | {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    return [str(CACHE / "tools" / package / "usr" / "bin" / program), *arguments], environment
