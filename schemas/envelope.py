"""What is around the data: a command as it was read, and an event as it was recorded."""

from typing import Any, Final, Literal

from msgspec import Struct

from annals.schemas.cid import cid_of

ANY: Final = "any"
EXISTS: Final = "exists"
ExpectedVersion = int | Literal["any", "exists"]


class Command(Struct, frozen=True, gc=False):
    """A command that can be answered: its `id` and `aggregate_id` are well formed.

    Where the rest of the envelope is not, `errors` names each offending member as (path, message) and `type` and `data`
    may be None; without errors neither is. Whether `data` fits the type is for the decider. `expected_head` is a
    binary CID; `traceparent`, `tracestate` and `via` (`annals-via`) are the headers' valid values.
    """

    id: str
    type: str | None
    aggregate_id: str
    data: dict[str, Any] | None
    correlation_id: str
    """The command's own id unless the producer gave another."""
    expected_version: ExpectedVersion = ANY
    expected_head: bytes | None = None
    causation_id: str | None = None
    actor: str | None = None
    traceparent: bytes | None = None
    tracestate: bytes | None = None
    via: bytes | None = None
    errors: tuple[tuple[str, str], ...] = ()


class RecordedEvent(Struct, frozen=True, gc=False):
    """An event as it stands in the journal, with its CID, for readers who want names instead of a map."""

    kind: str
    aggregate_id: str
    version: int
    previous: bytes | None
    type: str
    schema_version: int
    recorded_at: str
    command_id: str
    correlation_id: str
    causation_id: str | None
    actor: str | None
    data: dict[str, Any]
    cid: bytes

    @classmethod
    def of(cls, event: dict[str, Any], block: bytes) -> "RecordedEvent":
        """Return the typed view of an event that `annals.schemas.chain.read_block` read from `block`."""
        return cls(**event, cid=cid_of(block))
