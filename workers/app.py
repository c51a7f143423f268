"""The composition root: the Faust app with its agents, over the worker's shards.

Faust brings the group, the rebalances and the supervised agents; what it does not do for a journal (whole fetches,
read_committed, our transactions and stores) is in `annals.workers.kafka` and `annals.workers.stores`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import faust
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager

from annals.agents.writing.command_handler import command_handler
from annals.topics.names import TopicNames
from annals.workers.kafka.group.transport import DeliverySchema, Transport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from annals.workers.kafka.group.membership import Membership
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.settings import Settings
    from annals.workers.writing.shards import Shards

BROKER_TIMEOUT_S: Final = 60.0  # Faust's own clocks: they only say when it logs that a rebalance is slow


class ConsumerOnly(BootStrategy):
    """Starts no producer and no web server of Faust's: neither would be used, and its pages ask for no name."""

    enable_kafka_producer = False
    enable_web = False


class NoTables(TableManager):
    """Faust's keeper of tables, of which there are none here: it need not wait a second for them at each start."""

    async def on_start(self) -> None:
        """Say that all tables are there."""
        await self._update_channels()
        await self.recovery.start()


class AnnalsApp(faust.App):
    """A Faust app whose consumer delivers whole fetches of the open sources."""

    BootStrategy = ConsumerOnly

    def __init__(
        self, *, consumer_options: Mapping[str, Any], membership: Membership, sources: Sources, **kwargs: Any
    ) -> None:
        """Take aiokafka's options for the group's consumer, its membership, and the sources that it feeds."""
        self.consumer_options = consumer_options
        self.membership = membership
        self.sources = sources
        super().__init__(membership.group, **kwargs)

    def _create_directories(self) -> None:
        """Make no folders: Faust would, where the worker was started, and keep nothing in them."""

    def on_init_dependencies(self) -> Iterable[Any]:
        """Return Faust's services, without its monitor: that counts each message for pages that are off."""
        services: Iterable[Any] = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        return services

    @property
    def _rebalancing_sensor_state(self) -> dict[None, None]:
        """Never empty: Faust warns of a rebalance that no sensor has noted, and there are none."""
        return {None: None}

    @_rebalancing_sensor_state.setter
    def _rebalancing_sensor_state(self, _: object) -> None:
        """Keep nothing."""

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self, self.loop)


def create_app(
    settings: Settings,
    options: Mapping[str, Any],
    kinds: Iterable[str],
    membership: Membership,
    sources: Sources,
    shards: Shards,
) -> AnnalsApp:
    """Return the app: one agent per kind on that kind's commands, and the shards' part in each rebalance."""
    names = TopicNames(settings.topic_prefix)
    app = AnnalsApp(
        consumer_options=options,
        membership=membership,
        sources=sources,
        broker=";".join(f"kafka://{server}" for server in settings.bootstrap_servers.split(",")),
        store="memory://",
        TableManager=NoTables,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        broker_session_timeout=BROKER_TIMEOUT_S,
        broker_request_timeout=BROKER_TIMEOUT_S + 30,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
    )
    handler = command_handler(shards.shard_of)
    for kind in kinds:
        # acks=False: Faust never commits these offsets; the shards' transactions do
        topic = app.topic(names.commands(kind), schema=DeliverySchema(), acks=False, internal=False)
        app.agent(topic, name=f"command_handler.{kind}")(handler)

    async def on_revoked(sender: AnnalsApp, revoked: set[Any], **_: Any) -> None:  # noqa: ARG001 - Faust's signature
        await shards.on_partitions_revoked(revoked)

    async def on_assigned(sender: AnnalsApp, assigned: set[Any], **_: Any) -> None:  # noqa: ARG001 - Faust's signature
        await shards.on_partitions_assigned(assigned)

    app.on_partitions_revoked.connect(on_revoked, weak=False)
    app.on_partitions_assigned.connect(on_assigned, weak=False)
    return app
