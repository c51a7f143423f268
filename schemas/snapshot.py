"""Snapshots: an aggregate's state at a head, cached. A hint that may be thrown away, never the truth."""

from typing import Any, Final

from msgspec import Struct

from annals.schemas.canonical import NotCanonicalError, decode, encode
from annals.schemas.cid import is_cid

_TYPES: Final[dict[str, type]] = {
    "kind": str,
    "aggregate_id": str,
    "version": int,
    "head": bytes,
    "state_version": int,
    "state": bytes,
}
# What releases before these members wrote has neither.
_LATER: Final[dict[str, type]] = {"recorded_at": str, "offset": int}


class SnapshotError(ValueError):
    """The bytes are no snapshot; whoever wanted one folds the journal instead."""


class Snapshot(Struct, frozen=True):
    """A state bound to the event that it was folded up to.

    `head` is that event's binary CID, `state` what the decider's `encode_state` gave, to be read only by a release with
    the same `state_version`. `recorded_at` is the time behind which the aggregate's next event must not go back, as in
    the event's block or later; `offset` is the event's in the journal. Of releases that wrote neither both are None.
    """

    kind: str
    aggregate_id: str
    version: int
    head: bytes
    state_version: int
    state: bytes
    recorded_at: str | None = None
    offset: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a state can be restored from it: with the time that its chain has come to."""
        return self.recorded_at is not None and self.offset is not None


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot's DAG-CBOR: a map with `head` as a link.

    A state whose bytes happen to look like a CID is written as a link, too, and read back as the same bytes.

    Raises:
        ValueError: `head` is no CID of this project's form.
    """
    if not is_cid(snapshot.head):
        raise ValueError("a snapshot's head is the 36 bytes of a CID")
    members = {name: getattr(snapshot, name) for name in (*_TYPES, *_LATER)}
    return encode({name: value for name, value in members.items() if value is not None})


def decode_snapshot(value: bytes) -> Snapshot:
    """Return the snapshot in a record of `snapshots.<kind>`. Members that are not known are passed over.

    Raises:
        SnapshotError: it is none; the message says why.
    """
    try:
        members: dict[str, Any] = decode(value)
    except NotCanonicalError as error:
        raise SnapshotError(f"no snapshot: {error}") from None
    if not members.keys() >= _TYPES.keys():
        raise SnapshotError(f"no snapshot: its members are {', '.join(sorted(members))[:200]}")
    wanted = {name: type_ for name, type_ in (_TYPES | _LATER).items() if name in members}
    for name, type_ in wanted.items():
        if type(members[name]) is not type_:
            raise SnapshotError(f"no snapshot: {name} is {type(members[name]).__name__}, not {type_.__name__}")
    if not is_cid(members["head"]):
        raise SnapshotError("no snapshot: head is no CID of this project's form")
    return Snapshot(**{name: members[name] for name in wanted})
