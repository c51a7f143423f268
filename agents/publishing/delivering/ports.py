"""What acknowledged delivery asks of the outside: its topics, where it sends to, and the journal it reads again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from annals.agents.reading.ports import JournalSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annals.agents.publishing.delivering.machine import Answer, Numbers
    from annals.agents.publishing.records import Outgoing
    from annals.agents.reading.found import JournalEvent
    from annals.schemas.delivery import Row
    from annals.schemas.progress import Progress
    from annals.topics.headers import ReadHeaders


ROWS_A_TURN: Final = 1_000  # some milliseconds: heartbeats and everybody else on the event loop wait meanwhile


class AckRecord(NamedTuple):
    """A record of `acks.<name>` as it is there."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: ReadHeaders


class AckRun(NamedTuple):
    """Answers in the order of their offsets, where to go on, and whether there are no more at present."""

    records: Sequence[AckRecord]
    next_offset: int
    is_end: bool


class DeadAck(NamedTuple):
    """An answer that cannot be used: it becomes a dead letter, `bad_ack`."""

    record: AckRecord
    message: str


class DeliveryWrites(NamedTuple):
    """One transaction of a subscription in a journal partition.

    rows: by key; None: settled. records: to `subscribers.<name>`; parked: to `parked.<name>`; moved: answers that were
    in a partition which their key does not belong to, copied to the right one; progress: with the offset of
    `acks.<name>` that all of it rests on; at: the time of day of dead letters, in milliseconds since 1970.
    """

    rows: Mapping[str, Row | None]
    progress: Progress
    at: int
    records: Sequence[Outgoing] = ()
    parked: Sequence[Outgoing] = ()
    moved: Sequence[AckRecord] = ()
    dead: Sequence[DeadAck] = ()


class Unsettled(NamedTuple):
    """What is not settled in a journal partition. rows: by offset, each once, without what is parked.

    parked: since when, in milliseconds since 1970, by the key of the row: nothing else of them is kept in memory.
    """

    rows: Iterable[Row]
    parked: Mapping[bytes, int]


class DeliveryLog(Protocol):
    """The transactional writer of one subscription in one journal partition, and what it reads.

    Whoever changes a row from outside (replays, discards) takes one of the same name: fence, read rows and progress,
    `deliver`. The delivery shard is fenced by it, and opens again with what it finds.
    """

    async def fence(self) -> None:
        """Become the only writer under this id; what another had under way ends here.

        Raises:
            UnreachableError: the brokers do not answer.
        """

    async def own_progress(self) -> Progress | None:
        """Return how far the subscription is; None if nobody has written it.

        Raises:
            TargetError: the topic of progress lacks what was written there.
            UnreachableError: the brokers do not answer.
        """

    async def unsettled(self, incarnation: int) -> Unsettled:
        """Return what is not settled in this journal partition, once no transaction is open.

        However many rows there are, no more than `ROWS_A_TURN` are looked at in one turn of the event loop.

        Raises:
            TargetError: the topic is not there, or lacks rows that were written there.
            UnreachableError: the brokers do not answer.
        """

    async def acks(self, offset: int, limit: int) -> AckRun:
        """Return the answers that are there, from an offset on; it does not wait.

        Raises:
            TargetError: the topic is not there.
            UnreachableError: the brokers do not answer.
        """

    async def deliver(self, writes: DeliveryWrites) -> None:
        """Write it all in one transaction.

        Raises:
            FencedError: another writer has this id; nothing of this transaction will ever be visible.
            UncertainError: what became of it is not known; fence, then read rows and progress.
            TargetError: a topic is not there, or does not take a record; nothing was begun.
        """

    def throttled_s(self) -> float:
        """Return for how many seconds the brokers ask for nothing more to be written."""

    async def close(self) -> None:
        """Close the connections."""


class Poster(Protocol):
    """Sends deliveries by another way than a topic."""

    @property
    def endpoint(self) -> str:
        """What rows call the endpoint that is posted to; another one has another name."""

    def opened(self, rows: Iterable[Row]) -> None:
        """Take note of what is not settled and not parked, when a shard has read it: in as many parts as it likes."""

    def post(self, row: Row, outgoing: Outgoing, answered: Callable[[str, Answer], None]) -> None:
        """Send one that is in flight from now on; the row names the attempt. Returns at once, and never fails.

        answered: takes the answer and its aggregate's id, whenever; it must come before the row is due, if at all.
        """

    async def close(self) -> None:
        """Break off what is under way."""


class DeliverySource(JournalSource, Protocol):
    """A journal partition as delivery reads it.

    is_whole: whether it knows all of the journal up to where it is. While it does not, `offset_of` raises
    NotIndexedError for what may be there and is not known.
    """

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""

    async def event_at(self, offset: int) -> JournalEvent | None:
        """Return the event at an offset; None if none is there. Whether it counts, the caller knows by its CID."""

    async def events_at(self, offsets: Sequence[int]) -> dict[int, JournalEvent]:
        """Return the events at some offsets by one question; one that is not in it is asked for with `event_at`."""

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet)."""


class DeliveryTelemetry(Protocol):
    """What is counted of one subscription in one journal partition."""

    def published(self, name: str, events: int) -> None:
        """Count deliveries that were committed."""

    def failed(self, name: str, expressions: int) -> None:
        """Count events on which an expression failed."""

    def lag(self, name: str, events: int) -> None:
        """Say how many offsets a subscription is behind."""

    def uncertain(self) -> None:
        """Count a transaction whose end is not known."""

    def defect(self, error: Exception) -> None:
        """Count what nobody foresaw; it is tried again."""

    def fenced(self) -> None:
        """Count a fence by another writer."""

    def answers(self, name: str, results: Mapping[str, int]) -> None:
        """Count answers by what they were: one of the machine's `RESULTS`, or `bad`."""

    def redelivered(self, name: str, deliveries: int) -> None:
        """Count deliveries that were not the first of their event."""

    def parked(self, name: str, events: int) -> None:
        """Count events that were parked."""

    def unsettled(self, name: str, numbers: Numbers) -> None:
        """Say how many rows there are."""

    def parked_since(self, name: str, milliseconds: int | None) -> None:
        """Say since when the oldest is parked; None: nothing is."""
