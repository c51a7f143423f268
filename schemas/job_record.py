"""What the compacted topic `jobs` says of a job: what was asked for, which worker runs it, and how far it is.

The key is the job's id. Whoever may write to the topic may have work done: a record is read as a stranger's, and what
runs a job checks its request again.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from annals.schemas.depth import loaded

MOST_BYTES: Final = 262_144

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

Count = Annotated[int, Meta(ge=0, le=2**53)]
JobId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]
Text = Annotated[str, Meta(max_length=2_000)]


class JobRecord(Struct, frozen=True, kw_only=True):
    """One job.

    kind: which work it is (`replay`, `rebuild`, `verify`, `parked`); subject: on what, for people. request: as the work
    takes it. worker: the member of the group that reads which runs it; None: the one that did has ended, and another
    takes it up. takeovers: how many workers were lost while they ran it. beats: grows while a worker is at it.
    progress: as the work tells it, and goes on from it; result: what it found; error: why it failed.
    """

    id: JobId
    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}\Z")]
    subject: Text
    status: Literal["running", "done", "failed", "cancelled"]
    started_at: Annotated[str, Meta(max_length=64)]
    ended_at: Annotated[str, Meta(max_length=64)] | None = None
    request: dict[str, Any] = {}
    worker: Annotated[str, Meta(max_length=1_000)] | None = None
    takeovers: Count = 0
    beats: Count = 0
    progress: dict[str, Any] = {}
    result: Any = None
    error: Text | None = None

    @property
    def is_running(self) -> bool:
        """Whether somebody is at it, or should be."""
        return self.status == RUNNING


def encode_job(record: JobRecord) -> bytes:
    """Return a record's value."""
    return msgspec.json.encode(record)


def decode_job(key: bytes | None, value: bytes) -> JobRecord:
    """Return the record of a key and a value.

    Raises:
        ValueError: they are none; the message says why.
    """
    if len(value) > MOST_BYTES:
        raise ValueError(f"it has {len(value)} bytes, more than {MOST_BYTES}")
    record = msgspec.convert(loaded(value), JobRecord)
    if key != record.id.encode():
        raise ValueError("its key is not the job's id")
    return record
