"""What the packages of Office have in common: relations between parts, and properties of the document."""

import posixpath
from typing import Any

from udfs.parsing.archives import Archive, local
from udfs.parsing.parsed import iso_date, language_of, metadata_of


def relations_of(archive: Archive, part: str) -> dict[str, tuple[str, str]]:
    """The parts that a part refers to.

    Args:
        archive: The package.
        part: Name of the member.

    Returns:
        By the relation's id: the last word of its type, and the member's name. Links out of the package are left out.
    """
    folder, name = posixpath.split(part)
    root = archive.xml_if_there(f"{folder}/_rels/{name}.rels".lstrip("/"))
    found = {}
    for relation in [] if root is None else root:
        if relation.get("TargetMode") != "External" and relation.get("Id"):
            target = relation.get("Target") or ""
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")
            found[relation.get("Id")] = ((relation.get("Type") or "").rpartition("/")[2], path.lstrip("/"))
    return found


def properties_of(archive: Archive) -> tuple[str | None, str | None, dict[str, str]]:
    """Title, language and metadata of a package.

    Args:
        archive: The package.

    Returns:
        The three; None and nothing where it has no properties.
    """
    root = archive.xml_if_there("docProps/core.xml")
    said: dict[str, str] = {} if root is None else {local(one): one.text or "" for one in root}
    metadata = metadata_of(
        author=said.get("creator"),
        created=iso_date(said.get("created")),
        modified=iso_date(said.get("modified")),
        subject=said.get("subject"),
        keywords=said.get("keywords"),
        description=said.get("description"),
    )
    return " ".join((said.get("title") or "").split()) or None, language_of(said.get("language")), metadata


def children(element: Any) -> Any:
    """The child elements to read; of alternatives the first, which is the newest way to write the same."""
    for child in element:
        if local(child) == "AlternateContent":
            for choice in list(child)[:1]:
                yield from children(choice)
        else:
            yield child
