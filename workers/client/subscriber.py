"""What is in a subscriber's topic, as it comes: CloudEvents of committed transactions alone."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from annals.schemas.dag_json import encode
from annals.schemas.values.moments import unix_ms
from annals.topics.names import TopicNames
from annals.workers.kafka.connections import connect, creating_nothing, partitions_of
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from annals.workers.settings import Settings

BEGINNING: Final = "beginning"
NOW: Final = "now"
PREFIX: Final = "ce_"
CARRIED: Final = ("traceparent", "tracestate")
POLL_MS: Final = 500
MOST_RECORDS: Final = 500

Start = str | datetime


class SubscriberRecord(NamedTuple):
    """A record of a subscriber's topic. attributes: of the CloudEvent, without `ce_`."""

    partition: int
    offset: int
    attributes: Mapping[str, str]
    content_type: str
    value: bytes | None

    def as_json(self) -> bytes:
        """Return the CloudEvent in the JSON format: `data`, or `data_base64` for what is not JSON."""
        event: dict[str, Any] = {**self.attributes, "datacontenttype": self.content_type}
        if self.value is not None:
            try:
                event["data"] = msgspec.json.decode(self.value)
            except (ValueError, RecursionError):
                event["data_base64"] = base64.b64encode(self.value).decode()
        return encode(event)

    def as_line(self) -> bytes:
        """Return it for people: partition and offset, when, which event of which aggregate, and its data."""
        named = {name: self.attributes.get(name, "-") for name in ("time", "type", "subject", "sequence")}
        kind = self.attributes.get("source", "-").rpartition("/")[2]
        version = named["sequence"].lstrip("0")
        data = b"" if self.value is None else self.value
        shown = data if _is_text(data) else b"%d bytes" % len(data)
        line = (
            f"{self.partition}:{self.offset}  {named['time']}  {named['type']}  {kind}/{named['subject']} {version}  "
        )
        return line.encode() + shown


async def subscribed(settings: Settings, name: str, start: Start) -> AsyncGenerator[list[SubscriberRecord], None]:
    """Yield what the topic of a subscription has from a start on, and then what comes, some at a time, for ever.

    Nothing is yielded, too, where nothing came for half a second.

    start: `beginning`, `now`, or the time of publishing.

    Raises:
        MissingTopicError: there is no such topic.
        KafkaError: the brokers do not answer at first, or refuse.
    """
    topic = TopicNames(settings.topic_prefix).subscribers(name)
    client = await connect(client_options(settings), [])
    try:
        wheres = [TopicPartition(topic, partition) for partition in range(partitions_of(client, topic))]
    finally:
        await client.close()
    consumer = creating_nothing(
        AIOKafkaConsumer(
            **client_options(settings),
            group_id=None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
    )
    async with consumer:
        consumer.assign(wheres)
        await _seek(consumer, wheres, start)
        while True:
            found = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST_RECORDS)
            yield [_read(record) for each in found.values() for record in each]


async def _seek(consumer: AIOKafkaConsumer, wheres: list[TopicPartition], start: Start) -> None:
    if start == BEGINNING:
        await consumer.seek_to_beginning(*wheres)
        return
    ends = await consumer.end_offsets(wheres)
    since = {}
    if isinstance(start, datetime):
        since = await consumer.offsets_for_times(dict.fromkeys(wheres, max(0, unix_ms(start))))
    for where in wheres:
        found = since.get(where)
        consumer.seek(where, ends[where] if found is None else found.offset)


def _read(record: Any) -> SubscriberRecord:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    attributes = {name.removeprefix(PREFIX): value for name, value in headers.items() if name.startswith(PREFIX)}
    attributes |= {name: headers[name] for name in CARRIED if name in headers}
    content_type = headers.get("content-type", "application/octet-stream")
    return SubscriberRecord(record.partition, record.offset, attributes, content_type, record.value)


def _is_text(value: bytes) -> bool:
    """Whether it is to be shown as it is: of one line, without anything that a terminal would obey."""
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False
