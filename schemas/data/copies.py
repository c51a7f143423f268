"""Copies of an event's data, for code of others that may change what it is given."""

from __future__ import annotations

from typing import Any

Data = dict[str, Any]


def copied(data: Data) -> Data:
    """Return data of JSON types as new objects and arrays, without recursion: they may nest 512 levels."""
    copy: Data = dict(data)
    rest: list[Any] = [copy]
    while rest:
        container = rest.pop()
        for at, value in container.items() if type(container) is dict else enumerate(container):
            if type(value) is dict or type(value) is list:
                container[at] = value.copy()
                rest.append(container[at])
    return copy
