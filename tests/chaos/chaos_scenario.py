"""What most tests of this folder need at once: workers, a sender, a reader, and the checker over them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Self, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from chaos_checker import Report, check, unaccounted
from chaos_commands import Ask
from chaos_damage import cut
from chaos_records import Records
from chaos_sender import Sender, Sent
from chaos_workers import KINDS, WITHIN_S, Deployment, eventually
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from annals.topics.catalog import catalogue
from annals.workers.tools.broker import Broker
from whole_topics import known_topics, until_set

Found = TypeVar("Found")
LASTS_MS = 600_000  # a transaction that a test ends itself: the broker does not end it before, however slow it is


class Scenario(Deployment):
    """A deployment on topics of its own, which go with it."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        folder: Path,
        kinds: tuple[str, ...] = KINDS,
        timeout_ms: int = 120_000,
        apart: tuple[str, ...] = (),
    ) -> None:
        """Make it. apart: kinds that the workers have as well, and whose records somebody else reads."""
        super().__init__(bootstrap, prefix, folder, (*kinds, *apart))
        self.sender = Sender(bootstrap, prefix, timeout_ms)
        self.records = Records(bootstrap, prefix, kinds)
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._is_attached = False
        self._is_waiting = False

    def make_topics(self, partitions: int = 2, copies: int = 1, only: tuple[str, ...] = ()) -> Self:
        """Make the topics by the catalogue, or some of them: that is faster than to have a worker do it."""
        specs = catalogue(self.prefix, partitions, copies, kinds=self.kinds)
        topics = [
            NewTopic(each.name, each.partitions, each.replication_factor, config=each.config)
            for each in specs
            if not only or each.name.removeprefix(self.prefix) in only
        ]
        made = self.admin.create_topics(topics, operation_timeout=30)
        for future in made.values():
            future.result(60)
        eventually(lambda: made.keys() <= known_topics(self.admin).keys(), f"{list(made)} are there")
        return self

    def delete_topics(self, *names: str) -> list[str]:
        """Delete topics, named without the prefix; return their names once the broker knows none of them."""
        topics = [f"{self.prefix}{name}" for name in names]
        for future in self.admin.delete_topics(topics, operation_timeout=30).values():
            future.result(60)

        def are_gone() -> bool:
            known = known_topics(self.admin).keys()
            return bool(known) and known.isdisjoint(topics)

        eventually(are_gone, f"{topics} are gone")
        return topics

    def send(self, asks: Iterable[Ask]) -> list[Sent]:
        """Send commands, and wait until they are acknowledged."""
        return self.sender.sent_and_known(asks)

    def send_one_by_one(self, asks: Iterable[Ask]) -> None:
        """Send each command when the one before is answered: each is a transaction, with a marker behind it."""
        for ask in asks:
            self.send([ask])
            self.until_answered()

    def outsider(self) -> Producer:
        """A producer of somebody else's, in a transaction that lasts until the test ends it."""
        options = {"transactional.id": f"{self.prefix}outsider", "transaction.timeout.ms": LASTS_MS, "log_level": 0}
        producer = Producer({"bootstrap.servers": self.bootstrap, **options})
        producer.init_transactions(60)
        producer.begin_transaction()
        return producer

    def limit_events(self, size: int) -> None:
        """Have the broker take no larger batches of persons' events, from now on."""
        name, topic = "max.message.bytes", f"{self.prefix}events.person"
        entry = ConfigEntry(name, str(size), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(60)
        until_set(self.bootstrap, topic, name, str(size))

    def read(self) -> Records:
        """Read what is new in all topics."""
        if not self._is_attached:
            self.records.attach()
            self._is_attached = True
        return self.records.read()

    def read_anew(self) -> None:
        """Forget what was read: a topic is another one now."""
        self.records.close()
        self.records, self._is_attached = Records(self.bootstrap, self.prefix, self.records.kinds), False

    def answered(self) -> bool:
        """Whether every command in the log is accounted for."""
        before = self.records.count
        if self.read().count == before and self._is_waiting:
            return False  # nothing new
        self._is_waiting = bool(unaccounted(self.records))
        return not self._is_waiting

    def until_answered(self, within_s: float = WITHIN_S) -> Report:
        """Wait until every command in the log is accounted for, and check everything."""
        eventually(self.answered, "every command answered", within_s, self._why)
        return self.check()

    def check(self) -> Report:
        """Check what there is now."""
        return check(self.read(), self.sender.sent)

    def _why(self) -> str:
        return f"{unaccounted(self.records)[:5]}\n{self.told()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.records.close()
        with contextlib.suppress(Exception):  # a broker that is away keeps them; its folder goes after the tests
            topics = [name for name in self.admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
            for future in self.admin.delete_topics(topics, operation_timeout=10).values():
                future.result(10)


def cut_under(scenario: Scenario, broker: Broker, topic: str, offset: int) -> None:
    """Kill the broker, cut the end of a partition, start it again."""
    broker.kill()
    cut(broker, f"{scenario.prefix}{topic}", offset)
    broker.start()


def delete_before(scenario: Scenario, topic: str, offset: int, partition: int = 0) -> None:
    """Delete what is in a partition before an offset, as retention does."""
    delete_below(scenario.bootstrap, {TopicPartition(topic, partition): offset})


def delete_below(bootstrap: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Delete what is in partitions before an offset of each."""

    async def delete(admin: AIOKafkaAdminClient) -> None:
        if offsets:
            await admin.delete_records({place: RecordsToDelete(before_offset=it) for place, it in offsets.items()})

    _as_admin(bootstrap, delete)


def committed(bootstrap: str, group: str) -> dict[TopicPartition, int]:
    """Return a group's offsets; not by librdkafka, which aborts where a coordinator goes away (its issue 4605)."""

    async def ask(admin: AIOKafkaAdminClient) -> dict[TopicPartition, int]:
        return {place: found.offset for place, found in (await admin.list_consumer_group_offsets(group)).items()}

    return _as_admin(bootstrap, ask)


def _as_admin(bootstrap: str, ask: Callable[[AIOKafkaAdminClient], Awaitable[Found]]) -> Found:
    async def asked() -> Found:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            return await ask(admin)
        finally:
            await admin.close()

    return asyncio.run(asked())


def assert_clean(report: Report, void: int = 0) -> None:
    """Nothing is wrong, but for the void events that the fault has put there."""
    wanted = dict.fromkeys(report.CATEGORIES, 0) | {"void": void}
    assert report.counts() == wanted, str(report)
