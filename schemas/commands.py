"""Commands to be sent: typed data in an envelope that carries correlation and causation on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from annals.schemas.cid import cid_text
from annals.schemas.envelope import ANY, ExpectedVersion
from annals.schemas.messages import Message

if TYPE_CHECKING:
    from annals.schemas.envelope import RecordedEvent


class NewCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command and its envelope. Each method returns another one; none checks what the worker checks."""

    kind: str
    aggregate_id: str
    message: Message
    id: str = ""
    expected_version: ExpectedVersion = ANY
    expected_head: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    actor: str | None = None

    def with_id(self, command_id: str) -> NewCommand:
        """The idempotency key: the same command sent again has the same one."""
        return replace(self, id=command_id)

    def caused_by(self, event: RecordedEvent) -> NewCommand:
        """A reaction to an event: it belongs to the event's correlation, and the event's CID caused it.

        Without an id of its own it takes the cause's CID and the command's name, so that a reaction to an event that is
        delivered again is a `duplicate`.
        """
        cause = cid_text(event.cid)
        return replace(
            self,
            id=self.id or f"{cause}:{type(self.message).__name__}",
            correlation_id=event.correlation_id,
            causation_id=cause,
        )

    def by(self, actor: str) -> NewCommand:
        """Who wants it, by a name that is no person's."""
        return replace(self, actor=actor)

    def expecting(self, version: ExpectedVersion = ANY, head: str | None = None) -> NewCommand:
        """Decided only if the aggregate is at this version, and its last event has this CID (text)."""
        return replace(self, expected_version=version, expected_head=head)

    def envelope(self) -> dict[str, Any]:
        """The command as JSON types; members that were not given are left out.

        Raises:
            ValueError: it has neither an id nor a cause to make one from.
        """
        if not self.id:
            raise ValueError("a command needs an id: with_id(…), or caused_by(event)")
        said = {
            "expected_head": self.expected_head,
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "actor": self.actor,
        }
        return {
            "id": self.id,
            "type": type(self.message).__name__,
            "aggregate_id": self.aggregate_id,
            "data": msgspec.to_builtins(self.message),
            "expected_version": self.expected_version,
            **{name: value for name, value in said.items() if value is not None},
        }

    def key(self) -> bytes:
        """The record's key."""
        return self.aggregate_id.encode()

    def value(self) -> bytes:
        """The record's value."""
        return msgspec.json.encode(self.envelope())

    def line(self) -> dict[str, Any]:
        """A line for `annals send`: the envelope and its kind."""
        return {"kind": self.kind, **self.envelope()}


def command(kind: str, aggregate_id: str, message: Message) -> NewCommand:
    """A command to an aggregate, yet without an id."""
    return NewCommand(kind=kind, aggregate_id=aggregate_id, message=message)
