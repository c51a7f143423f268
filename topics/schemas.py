"""The records of the topic `schemas`: one for each version of a message, so that consumers find it without the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from topics.headers import Header

CONTENT_TYPE: Final = ("content-type", b"application/schema+json")
RELEASE: Final = "release"


def schema_key(kind: str, name: str, version: int) -> str:
    """The record's key: type and version, for an event the same text as its `ce_type`."""
    return f"annals.{kind}.{name}.v{version}"


def schema_headers(role: str, release: str) -> list[Header]:
    """The headers: what the schema is of (command, event, wire), and the first release that published it."""
    return [CONTENT_TYPE, ("role", role.encode()), (RELEASE, release.encode())]


def release_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The release that published a schema first; None if the record does not say."""
    return next((value.decode(errors="replace") for name, value in headers if name == RELEASE and value), None)
