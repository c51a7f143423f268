"""The topic `subscriptions`: followed by every process that publishes, and written by one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import astuple

from annals.agents.publishing.administration import no_such_subscription
from annals.agents.publishing.ports import Kept
from annals.schemas.depth import loaded
from annals.schemas.progress import Progress
from annals.schemas.subscription import Record, parse_record
from annals.workers.kafka.connections import MissingTopicError, partitions_of
from annals.workers.kafka.read.followed_topic import FollowedTopic
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.publishing.followed_writer import FollowedTopicWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.subscription import Positions
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.publishing.compacted_views import CompactedViews

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.1


def subscription_of(key: bytes | None, value: bytes) -> Record:
    """Return the subscription that a record says.

    Raises:
        ValueError: it says none: others may be able to write here.
    """
    body = loaded(value)
    found = parse_record(body) if isinstance(body, dict) else [("record", "must be an object")]
    if isinstance(found, Record) and found.definition.name.encode() == key:
        return found
    path, message = ("definition.name", "is not the record's key") if isinstance(found, Record) else found[0]
    raise ValueError(f"{path}: {message}")


def _kept(key: bytes | None, value: bytes, offset: int) -> Kept:
    return Kept(subscription_of(key, value), offset)


def _record_bytes(kept: Kept) -> int:
    """Return about what a record takes as objects: of filters and positions that is up to ten times their JSON."""
    size = 0
    rest: list[Any] = [kept.record]
    while rest:
        each = rest.pop()
        size += getsizeof(each)
        if isinstance(each, dict):
            rest += (*each, *each.values())
        elif isinstance(each, list):
            rest += each
        elif isinstance(each, Struct):
            rest += astuple(each)
    return size


class _ByName(Mapping[str, Kept]):
    """Subscriptions by name, looked up in what is kept by key: a copy would cost each request as much as there are."""

    def __init__(self, rows: Mapping[bytes, Kept]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> Kept:
        return self._rows[name.encode(errors="replace")]  # whatever somebody asks for: no name has a "?"

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self._rows)

    def __len__(self) -> int:
        return len(self._rows)


async def read_known(
    client: AIOKafkaClient, names: TopicNames, views: CompactedViews, *, is_settled: bool = True
) -> Mapping[str, Kept]:
    """Return all subscriptions by name, deleted ones among them; of what was read before, no more is read again.

    is_settled: once no transaction is open; else as they are committed: what was answered to whoever changed one is.

    Raises:
        MissingTopicError: there is no such topic.
        KafkaError, UnreachableError: it cannot be read to its end.
    """
    partitions_of(client, names.subscriptions)
    rows = await views.rows(client, names.subscriptions, _kept, more=_record_bytes, is_settled=is_settled)
    if not rows:  # it was deleted meanwhile
        raise MissingTopicError(names.subscriptions)
    return _ByName(rows[0])


def there(known: Mapping[str, Kept], name: str) -> Kept:
    """Return a subscription by its name.

    Raises:
        Refused: there is none, or no more (404).
    """
    kept = known.get(name)
    if kept is None or kept.record.is_deleted:
        raise no_such_subscription(name, known)
    return kept


class FollowedSubscriptions(FollowedTopic[Kept]):
    """The subscriptions, read again and again (the `Subscriptions` port but for pausing)."""

    problem: str | None = "the subscriptions are not read yet"

    def __init__(self, options: Mapping[str, Any], names: TopicNames, invalid: InvalidRecords = PASSED_OVER) -> None:
        """Take aiokafka client options, and what takes note of records that are none."""
        invalid.expect(names.subscriptions)
        super().__init__(options, names.subscriptions, _kept, invalid, LOOK_S)

    async def until_changed(self, known: Mapping[str, Kept]) -> None:
        """Wait until they are no longer what somebody knows."""
        while self._all is known:
            await self._changed.wait()

    def _tell(self, problem: str) -> None:
        log.warning("subscriptions cannot be read", reason=problem)


class SubscriptionsWriter(FollowedTopicWriter):
    """One writing of the topic: fence, read to the end, write, commit."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, group: str) -> None:
        """Take aiokafka client options, and the group that the transaction names."""
        super().__init__(options, names, names.subscriptions, group)

    async def commit(
        self,
        record: Record,
        begins: Positions,
        acks: Sequence[int] = (),
        further: Callable[[], Awaitable[Record]] | None = None,
    ) -> None:
        """Write a record, and the progress of what begins, in one transaction.

        acks: where the answers under its name end, by partition: they are to nothing that will be delivered. further:
        as of `commit_with`.
        """
        name = record.definition.name
        answered = dict(enumerate(acks))
        progress = (
            (
                name,
                self._names.events(kind),
                partition,
                Progress(offset, None, record.incarnation, answered.get(partition, 0)),
            )
            for kind, offsets in begins.items()
            for partition, offset in enumerate(offsets)
        )

        async def encoded(makes: Callable[[], Awaitable[Record]]) -> bytes:
            return msgspec.json.encode(await makes())

        value = None if further is None else partial(encoded, further)
        await self.commit_with(name.encode(), msgspec.json.encode(record), progress, value)
