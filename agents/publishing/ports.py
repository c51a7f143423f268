"""What publishing asks of the outside: where it writes, and which subscriptions there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from annals.agents.publishing.records import Outgoing
    from annals.schemas.progress import Progress
    from annals.schemas.subscription import Record


class TargetError(Exception):
    """A subscription's topic is not there, lost its end, or does not take a record. name: the subscription's.

    Nothing of the transaction will ever be visible.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Kept(NamedTuple):
    """A subscription as the topic has it; offset: of the record, which is its ETag."""

    record: Record
    offset: int


class Writes(NamedTuple):
    """One transaction: records by subscription, and the progress that they bring (None: it ends).

    position: how far the writer is then, as its group's offset shows it.
    """

    records: Mapping[str, Sequence[Outgoing]]
    progress: Mapping[str, Progress | None]
    position: int


class PublishLog(Protocol):
    """One transactional writer of one journal partition's records for subscribers."""

    async def fence(self) -> None:
        """Become the only writer under this id; what another had under way ends here.

        Raises:
            UnreachableError: the brokers do not answer.
        """

    async def progress(self, *, is_settled: bool = True) -> dict[str, Progress]:
        """Return the newest progress in this journal partition by name, `LIVE` among them.

        is_settled: wait until no transaction that has begun is open; else what is committed before the first of them.

        Raises:
            UnreachableError: the brokers do not answer.
            StoppedError: of what is live, the topic of progress lacks what was written there.
            TargetError: of a subscription that catches up, the same.
        """

    async def answers_end(self, names: Collection[str]) -> dict[str, int]:
        """Return where the answers to subscriptions end in this partition: of all by one request to each broker.

        One whose topic is not there is not in it.

        Raises:
            UnreachableError: the brokers do not answer.
        """

    async def commit(self, writes: Writes) -> None:
        """Write it all in one transaction.

        Raises:
            FencedError: another writer has this id; nothing of this transaction will ever be visible.
            UncertainError: what became of it is not known; fence, then read the progress.
            TargetError: a topic is not there, lost its end, or does not take a record; nothing of it will be visible.
            StoppedError: the topic of progress lost its end.
        """

    def throttled_s(self) -> float:
        """Return for how many seconds the brokers ask for nothing more to be written."""

    async def close(self) -> None:
        """Close the connections."""


class PublishLogs(Protocol):
    """Makes the writers of one journal partition."""

    def live(self) -> PublishLog:
        """Return the writer of what is live."""

    def catching_up(self, name: str) -> PublishLog:
        """Return the writer of one subscription that catches up."""

    def forget(self, name: str) -> None:
        """Forget how far the topic of a subscription reached: it is begun anew."""


class Subscriptions(Protocol):
    """The subscriptions that there are, as this process has read them."""

    def all(self) -> Mapping[str, Kept]:
        """Return them by name, deleted ones among them. The mapping is another one when something has changed."""

    async def until_changed(self, known: Mapping[str, Kept]) -> None:
        """Wait until they are no longer what somebody knows."""

    async def until_read(self) -> None:
        """Wait until all that there are were read once."""

    async def until_current(self) -> None:
        """Wait until every change that was answered, or is being written, is in `all`.

        An event that was read before this is asked is then judged by what held when it was recorded. Where they
        cannot be read, what was known before holds.
        """

    async def pause(self, name: str, reason: str, partition: str, offset: int) -> None:
        """Have a subscription paused that cannot go on, and log why: once for all partitions that find it out.

        offset: of its record; one that was changed meanwhile is left as it is.
        """


class PublishTelemetry(Protocol):
    """What a publisher counts."""

    def published(self, name: str, events: int) -> None:
        """Count events that were committed for a subscription."""

    def failed(self, name: str, expressions: int) -> None:
        """Count events on which an expression failed."""

    def lag(self, name: str, events: int) -> None:
        """Say how many offsets a subscription is behind."""

    def publishing(self, *, is_so: bool) -> None:
        """Say whether the partition is published."""

    def uncertain(self) -> None:
        """Count a transaction whose end is not known."""

    def defect(self, error: Exception) -> None:
        """Count what nobody foresaw, while one subscription was worked for; that is tried again."""

    def fenced(self) -> None:
        """Count a fence by another publisher."""

    def deleted(self, name: str) -> None:
        """Forget what was said of a subscription in this partition: nobody would say it otherwise any more."""

    def closed(self) -> None:
        """Forget what was said of the partition: it may be somebody else's now."""
