"""Opens documents that are zip archives, and the XML in them, without being harmed by either."""

import io
import zipfile
import zlib
from typing import Any

from schemas.reasons import ENCRYPTED, TOO_LARGE, UNPARSABLE
from udfs.parsing.parsed import Limits, RefusedError

# Small members of repeated text are packed very well, and harm nobody.
_SMALL = 2**20
_ENCRYPTED_FLAG = 0x1


class Archive:
    """A zip archive whose directory keeps within the limits. Nothing is unpacked before it is asked for.

    Args:
        content: The archive.
        limits: How many members it may have, and how large they may be.
    """

    def __init__(self, content: bytes, limits: Limits) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise RefusedError(UNPARSABLE, "the archive is damaged or cut off") from error
        members = self._zip.infolist()
        if len(members) > limits.entries:
            raise RefusedError(TOO_LARGE, f"the archive has {len(members)} members, at most {limits.entries} are taken")
        unpacked = sum(member.file_size for member in members)
        if unpacked > limits.unpacked_bytes:
            at_most = f"at most {limits.unpacked_bytes} are taken"
            raise RefusedError(TOO_LARGE, f"the archive unpacks to {unpacked} bytes, {at_most}")
        self._ratio = limits.ratio
        self._members = {member.filename: member for member in members}

    @property
    def names(self) -> list[str]:
        """Names of the members."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """Unpacks a member.

        Args:
            name: Its name; one that starts with a slash means the same.

        Returns:
            Its content, never more than the archive's directory says.
        """
        member = self._members.get(name.lstrip("/"))
        if member is None:
            raise RefusedError(UNPARSABLE, "the archive lacks a part that it refers to")
        self.refuse_bomb(name)
        if member.flag_bits & _ENCRYPTED_FLAG:
            raise RefusedError(ENCRYPTED, "the archive's members are encrypted")
        try:
            return self._zip.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise RefusedError(UNPARSABLE, "a member of the archive is damaged") from error

    def refuse_bomb(self, name: str) -> None:
        """Refuses a member that would grow too much; `read` does it by itself."""
        member = self._members[name.lstrip("/")]
        if member.file_size > max(_SMALL, self._ratio * member.compress_size):
            raise RefusedError(TOO_LARGE, f"a member of the archive grows to over {self._ratio} times its size")

    def xml(self, name: str) -> Any:
        """Parses a member as XML; see `parse_xml`."""
        return parse_xml(self.read(name))

    def xml_if_there(self, name: str) -> Any | None:
        """Parses a member as XML, or gives None if there is none or it is damaged. For what a document can lack."""
        try:
            return self.xml(name) if name in self else None
        except RefusedError as error:
            if error.reason != UNPARSABLE:
                raise
            return None


def parse_xml(content: bytes) -> Any:
    """Parses XML. Entities stay as they are, no file and no address is opened, and depth and sizes are bounded.

    Args:
        content: The XML.

    Returns:
        The root element, of lxml.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise RefusedError(UNPARSABLE, "its XML is damaged, or nested too deeply") from error
    if root is None:
        raise RefusedError(UNPARSABLE, "its XML is empty")
    internal = root.getroottree().docinfo.internalDTD
    if internal is not None and any(True for _ in internal.iterentities()):
        raise RefusedError(UNPARSABLE, "its XML declares entities, which are never expanded")
    return root


def local(element: Any) -> str:
    """An element's name without its namespace; empty for entities that were not expanded."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """The value of an attribute by its name without namespace."""
    value = element.get(name)
    if value is not None:
        return str(value)
    return next((str(value) for key, value in element.items() if key.rpartition("}")[2] == name), None)
