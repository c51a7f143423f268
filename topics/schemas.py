"""The records of the topic `schemas`, one for each version of a message, and the subjects of a schema registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.topics.headers import Header

CONTENT_TYPE: Final = ("content-type", b"application/schema+json")
RELEASE: Final = "release"


def schema_key(kind: str, name: str, version: int) -> str:
    """The record's key: type and version, for an event the same text as its `ce_type`."""
    return f"{schema_subject(kind, name)}.v{version}"


def schema_subject(kind: str, name: str) -> str:
    """The subject of a type at a schema registry, with its versions under it: the full name of the record."""
    return f"annals.{kind}.{name}"


def schema_headers(role: str, release: str) -> list[Header]:
    """The headers: what the schema is of (command, event, wire), and the first release that published it."""
    return [CONTENT_TYPE, ("role", role.encode()), (RELEASE, release.encode())]


def release_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The release that published a schema first; None if the record does not say."""
    return next((value.decode(errors="replace") for name, value in headers if name == RELEASE and value), None)
