"""Bytes of records as JSON: text where they are text, else base64 under a name that says so."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annals.topics.headers import ReadHeaders


def bytes_json(name: str, value: bytes | None) -> dict[str, str | None]:
    """Return bytes as a member `name`, or `<name>_base64`."""
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value or b"").decode()}


def record_json(key: bytes | None, value: bytes | None, headers: ReadHeaders) -> dict[str, object]:
    """Return a record's key, value and headers as members."""
    named = (
        {"name": name.encode(errors="surrogateescape").decode(errors="replace"), **bytes_json("value", text)}
        for name, text in headers
    )
    return {**bytes_json("key", key), **bytes_json("value", value), "headers": list(named)}
