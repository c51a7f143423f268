"""How far a publisher is: the records of the compacted topic `progress`.

Key `live/<events topic>/<partition>`, or the subscription's name in the place of `live` while it is not published with
the others: it catches up, is paused or deleted. One whose subscriber answers has a record of its own for good; while it
rests, it is as far as what is live. That of a reaction is `reaction:<name>`; to the events of another deployment
`reaction:<name>@<deployment>`, with topic and partition of the journal there. That of a re-keyed reaction has topic and
partition of its stream, and `rekey:<name>` is how far a journal partition is copied to that.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from annals.schemas.cid import cid_text, parse_cid
from annals.schemas.depth import decoded
from annals.schemas.values.numbers import From0

LIVE: Final = "live"
LONGEST_FAILURE: Final = 1_000  # characters: it is kept, shown, and written again with each position


class Progress(Struct, frozen=True):
    """The next offset that is published, and the CID of the last event that counts before it.

    cid: None if there is none, or if it was not looked up. incarnation: of the subscription; 0 for what is live.
    acks: of one that is acknowledged, the next offset of its answers in this partition. is_resting: nothing of it is
    unsettled, and it is as far as what is live, or at `position`, whichever is greater (`reached_with`).

    Of a reaction alone: its version, the offset below which no commands are sent (quiet_until), up to when timers have
    fired (fired) or fire without commands (quiet_due), both inclusive, and why it does not go on (failure): an event at
    `position` or later, or a timer, that it cannot take.
    """

    position: int
    cid: bytes | None = None
    incarnation: int = 0
    acks: int = 0
    version: int = 0
    quiet_until: int = 0
    fired: str = ""
    quiet_due: str = ""
    is_resting: bool = False
    failure: str = ""

    def reached_with(self, live: Progress | None) -> int:
        """Return how far a subscription is whose own progress this is. live: that of what is live, if there is any."""
        return max(self.position, live.position) if self.is_resting and live is not None else self.position


class _Value(Struct, omit_defaults=True):
    position: From0
    cid: str | None
    incarnation: From0 = 0
    acks: From0 = 0
    version: From0 = 0
    quiet_until: From0 = 0
    fired: str = ""
    quiet_due: str = ""
    failure: str = ""
    resting: bool = False  # a release that does not know it goes on at `position`: nothing behind that was wanted


_DECODER: Final = msgspec.json.Decoder(_Value)


def progress_key(name: str, events_topic: str, partition: int) -> bytes:
    """Return the key of a subscription's progress in a journal partition; name: `LIVE` for what is live."""
    return f"{name}/{events_topic}/{partition}".encode()


def reaction_name(name: str, deployment: str | None = None) -> str:
    """Return what stands for a reaction in the keys; no subscription has such a name."""
    return f"reaction:{name}" if deployment is None else f"reaction:{name}@{deployment}"


def rekeying_name(name: str) -> str:
    """Return what stands for the copying to a reaction's re-keyed stream in the keys."""
    return f"rekey:{name}"


def name_of(key: bytes | None, events_topic: str, partition: int) -> str | None:
    """Return whose progress in a journal partition a record is; None if it is of another."""
    name, slash, rest = (key or b"").decode(errors="replace").partition("/")
    return name if slash and rest == f"{events_topic}/{partition}" else None


def encode_progress(progress: Progress) -> bytes:
    """Return a record's value."""
    cid = None if progress.cid is None else cid_text(progress.cid)
    rest = (
        progress.acks,
        progress.version,
        progress.quiet_until,
        progress.fired,
        progress.quiet_due,
        progress.failure,
        progress.is_resting,
    )
    return msgspec.json.encode(_Value(progress.position, cid, progress.incarnation, *rest))


def decode_progress(value: bytes) -> Progress:
    """Return the progress that a record says.

    Raises:
        ValueError: it is none.
    """
    found = decoded(_DECODER.decode, value)
    cid = None if found.cid is None else parse_cid(found.cid)
    failure = found.failure[:LONGEST_FAILURE]
    rest = found.acks, found.version, found.quiet_until, found.fired, found.quiet_due, found.resting, failure
    return Progress(found.position, cid, found.incarnation, *rest)
