"""What tells events apart beside their aggregates, and a stream of the events of a journal by it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

AGGREGATE_ID: Final = "aggregate_id"
CORRELATION_ID: Final = "correlation_id"
REACTION: Final = "reaction"
PROJECTION: Final = "projection"
REKEYED: Final = "rekeyed."
_MEMBER: Final = re.compile(r"data\.[a-z][a-z0-9_]{0,62}", re.ASCII)


class Rekeyed(NamedTuple):
    """A stream of all events of a kind that have a key, by that key: the topic `rekeyed.<name>`.

    reader: what it is copied for, which has the same name.
    """

    name: str
    kind: str
    key: str
    reader: Literal["reaction", "projection"]

    @property
    def place(self) -> str:
        """What stands for it where a kind stands for its journal: no kind has such a name."""
        return f"{REKEYED}{self.name}"

    @property
    def another_name(self) -> str:
        """What to do where it cannot be gone on with."""
        where = " where it is resumed" if self.reader == REACTION else ""
        return f"Give the {self.reader} another name, under which it begins anew{where}."

    @property
    def begin_anew(self) -> str:
        """What to do, if it cannot be restored, where it is gone for good."""
        return f"or g{self.another_name[1:]}"

    def key_of(self, event: Mapping[str, Any]) -> str | None:
        """Return an event's key as text; None: it has none, and is not in the stream."""
        return event_key(self.key, event["correlation_id"], event["data"])


def event_key(key: str, correlation_id: str | None, data: Mapping[str, Any]) -> str | None:
    """Return the key of an event by `correlation_id` or a member of its data as they were recorded; None: it has none.

    By `aggregate_id` all events of an aggregate have one, which says nothing more: it is empty.
    """
    if key == AGGREGATE_ID:
        return ""
    if key == CORRELATION_ID:
        return correlation_id
    value = data.get(key.removeprefix("data."))
    return None if value is None or isinstance(value, dict | list) else str(value)


def key_problem(key: str) -> str | None:
    """Return what keeps a key from being used, None if nothing does."""
    if key in {AGGREGATE_ID, CORRELATION_ID} or _MEMBER.fullmatch(key):
        return None
    return f"its key {key!r} is neither aggregate_id nor correlation_id nor data.<member>"


def rekeying_problem(key: str) -> str | None:
    """Return what keeps a key from being that of a stream, None if nothing does."""
    if key == AGGREGATE_ID:
        return (
            "re-keyed by aggregate_id, it would have what the journal has: its key is correlation_id or data.<member>"
        )
    return key_problem(key)
