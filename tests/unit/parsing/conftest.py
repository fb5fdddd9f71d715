from collections.abc import Callable

import pytest

from udfs.parsing.parsed import Limits, Parsed

Parse = Callable[..., Parsed]


@pytest.fixture(autouse=True, scope="session")
def documents_extra() -> None:
    for name in ("charset_normalizer", "docutils", "lxml", "pypdfium2", "python_calamine"):
        pytest.importorskip(name, reason="the extra documents is not installed")


@pytest.fixture
def parsed() -> Parse:
    """Parses in this process, and holds what every answer must keep to."""
    from udfs.parsing.parse import parse

    def parse_it(content: bytes | str, name: str = "document", **limits: float) -> Parsed:
        raw = content.encode() if isinstance(content, str) else content
        found = parse(raw, name, Limits(**limits))  # type: ignore[arg-type]
        assert (found.text is None) == (found.reason is not None) == (found.detail is not None)
        assert list(found.pages) == sorted(found.pages)
        assert all(0 <= page <= len(found.text or "") for page in found.pages)
        return found

    return parse_it
