"""The Faust app of one role: its agents, and the part of its actors in each rebalance.

Faust brings the group, the rebalances and the supervised agents; what it does not do for a journal (whole fetches,
read_committed, our transactions and stores) is in `annals.workers.kafka` and `annals.workers.stores`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import faust
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager

from annals.workers.kafka.group.transport import DeliverySchema, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from annals.workers.kafka.group.assignor import BalancedAssignor
    from annals.workers.kafka.group.membership import Membership
    from annals.workers.kafka.group.sources import Sources
    from annals.workers.last_assignment import LastAssignment
    from annals.workers.partitions import Partitions
    from annals.workers.settings import Settings

Handlers = dict[str, tuple[str, "Callable[[Any], Any]"]]  # topic -> the agent's name and function

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
        self,
        *,
        consumer_options: Mapping[str, Any],
        assignor: type[BalancedAssignor],
        membership: Membership,
        sources: Sources,
        **kwargs: Any,
    ) -> None:
        """Take aiokafka's options for the group's consumer, its membership, and the sources that it feeds.

        assignor: a class of this consumer's own.
        """
        self.consumer_options = consumer_options
        self.group_assignor = assignor
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
    membership: Membership,
    sources: Sources,
    partitions: Partitions[Any],
    handlers: Handlers,
    assignor: type[BalancedAssignor],
    last: LastAssignment,
) -> AnnalsApp:
    """Return the app: an agent for each topic, and the actors' part in each rebalance.

    assignor: a class of this consumer's own; last: where to keep what is assigned.
    """
    app = AnnalsApp(
        consumer_options=options,
        assignor=assignor,
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
    for name, (agent, handler) in handlers.items():
        # acks=False: Faust never commits these offsets; the write path's transactions do, and readers seek by stores
        topic = app.topic(name, schema=DeliverySchema(), acks=False, internal=False)
        app.agent(topic, name=agent)(handler)

    async def on_revoked(sender: AnnalsApp, revoked: set[Any], **_: Any) -> None:  # noqa: ARG001 - Faust's signature
        await partitions.on_partitions_revoked(revoked)

    async def on_assigned(sender: AnnalsApp, assigned: set[Any], **_: Any) -> None:
        mine = sender.group_assignor
        await partitions.on_partitions_assigned(assigned, mine.standby)
        # In no thread: all may be opening stores for longer than a session, and no heartbeat is sent before this ends.
        last.write(mine.owned, mine.standby)

    app.on_partitions_revoked.connect(on_revoked, weak=False)
    app.on_partitions_assigned.connect(on_assigned, weak=False)
    return app
