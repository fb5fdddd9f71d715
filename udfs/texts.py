"""Checks of a document's text before it is cut into chunks."""

import unicodedata

from schemas.reasons import BINARY, MAX_CHARACTERS, TOO_LARGE

# Prose contains none of these characters. In binary data read as text they make up a tenth or more.
_MAX_CONTROL_SHARE = 0.05
_CONTROLS = {code: None for code in [*range(0x09), *range(0x0E, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0), 0xFFFD]}
_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}
_VARIATION_SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))


def is_blank(text: str) -> bool:
    """Whether a text has nothing visible: only white space, control and format characters and variation selectors."""
    return all(unicodedata.category(character) in _INVISIBLE or character in _VARIATION_SELECTORS for character in text)


def text_fault(text: str) -> tuple[str, str] | None:
    """Finds why a document's text should not be embedded.

    Args:
        text: Composed text.

    Returns:
        Reason (one of `schemas.reasons`) and detail; None if the text can be embedded.
    """
    if len(text) > MAX_CHARACTERS:
        return TOO_LARGE, f"{len(text)} characters, at most {MAX_CHARACTERS} are taken"
    controls = len(text) - len(text.translate(_CONTROLS))
    if controls > _MAX_CONTROL_SHARE * len(text):
        return BINARY, f"{controls} of {len(text)} characters are control characters"
    return None
