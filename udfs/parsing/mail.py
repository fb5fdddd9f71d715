"""E-mail to Markdown: the headers that people read, then the text. Attachments are never opened."""

import email
import email.policy
from email.errors import MessageError
from email.message import Message
from email.utils import parsedate_to_datetime

from schemas.reasons import ENCRYPTED, TOO_LARGE, UNPARSABLE
from udfs.parsing.decoding import declared_in, decode
from udfs.parsing.html_text import write_html
from udfs.parsing.markdown import Markdown, collapsed
from udfs.parsing.parsed import Limits, RefusedError, iso_date, language_of, metadata_of

_SHOWN = ("From", "To", "Cc", "Date")


def write_mail(content: bytes, out: Markdown, limits: Limits) -> tuple[str | None, str | None, dict[str, str]]:
    """Writes a message. Of alternatives the plain one is taken, else HTML.

    Args:
        content: The message.
        out: Where the text goes.
        limits: How many parts it may have.

    Returns:
        Its subject, language and metadata.
    """
    try:
        message = email.message_from_bytes(content.lstrip(b"\r\n"), policy=email.policy.compat32)
        parts = _texts(message, limits)
    except RecursionError as error:
        raise RefusedError(UNPARSABLE, "its parts are nested too deeply") from error
    said = {name: _header(message, name) for name in ("Subject", "Content-Language", *_SHOWN)}
    out.heading(1, said["Subject"])
    out.paragraph("\n".join(f"{name}: {said[name]}" for name in _SHOWN if said[name]))
    if message.get_content_type() in ("multipart/encrypted", "application/pkcs7-mime") and not parts:
        raise RefusedError(ENCRYPTED, "the message is encrypted")
    language = None
    for part in parts:
        text = _text_of(part)
        if part.get_content_type() == "text/html":
            language = write_html(text, out).language or language
        else:
            for paragraph in text.split("\n\n"):
                out.paragraph(paragraph)
    metadata = metadata_of(author=said["From"], to=said["To"], created=_date(said["Date"]))
    return said["Subject"] or None, language_of(said["Content-Language"]) or language, metadata


def _texts(message: Message, limits: Limits) -> list[Message]:
    # Without recursion: a message may be nested as deeply as its sender liked.
    found: list[Message] = []
    waiting, seen = [message], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > limits.entries:
            raise RefusedError(TOO_LARGE, f"the message has more than {limits.entries} parts")
        kind, inner = part.get_content_type(), part.get_payload()
        if kind.startswith("multipart/") and isinstance(inner, list):
            children = [one for one in inner if isinstance(one, Message)]
            waiting += reversed(_best(children) if kind == "multipart/alternative" else children)
        elif kind in ("text/plain", "text/html", "text/markdown") and not _is_attached(part):
            found.append(part)
    return found


def _best(alternatives: list[Message]) -> list[Message]:
    for wanted in ("text/plain", "text/html", "multipart/"):
        for part in alternatives:
            if part.get_content_type().startswith(wanted) and (wanted == "multipart/" or _bytes(part).strip()):
                return [part]
    return alternatives[:1]


def _is_attached(part: Message) -> bool:
    disposition = part.get_content_disposition()
    return disposition == "attachment" or (disposition != "inline" and part.get_filename() is not None)


def _bytes(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text_of(part: Message) -> str:
    content = _bytes(part)
    declared = part.get_content_charset() or (declared_in(content) if part.get_content_type() == "text/html" else None)
    return decode(content, declared)


def _header(message: Message, name: str) -> str:
    try:
        values = email.header.decode_header(str(message.get(name, "")))
    except (MessageError, ValueError):
        return collapsed(str(message.get(name, "")))
    parts = [value if isinstance(value, str) else _decoded(value, charset) for value, charset in values]
    return collapsed("".join(parts))


def _decoded(value: bytes, charset: str | None) -> str:
    try:
        return decode(value, charset)
    except RefusedError:
        return ""


def _date(text: str) -> str | None:
    try:
        return iso_date(parsedate_to_datetime(text).isoformat())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
