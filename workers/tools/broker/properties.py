"""The settings of the broker itself: one node, small, and strict about topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST: Final = "127.0.0.1"


class Ports(NamedTuple):
    """The ports of one start: clients connect to `client` and are told to use `advertised`."""

    client: int
    advertised: int
    internal: int
    controller: int


# The defaults are for clusters: fifty partitions for each internal topic, 128 MB for the log cleaner.
SMALL: Final[dict[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # The broker writes transaction markers to itself: never through what an advertised port leads to.
    "inter.broker.listener.name": "INTERNAL",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A mistyped topic is an error, and no topic with settings that lose events.
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # `broker.session.timeout.ms` stays at Kafka's default of 9 s, though a broker that was killed is let in again only
    # when its last session is over. With 3 s, one on a busy machine was fenced while it lived, and a transaction that
    # ended meanwhile never got its markers: it blocks readers for good. Heartbeats come every two seconds by default.
    "broker.heartbeat.interval.ms": "500",
    # Eight handlers and three network threads per listener are for servers: on a core or two each handover between
    # them costs more than what a request is for (at 1,000 commands a second a quarter of the latency).
    "num.network.threads": "1",
    "num.io.threads": "2",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.index.size.max.bytes": "2097152",
}


def broker_properties(log_folder: Path, ports: Ports, more: Mapping[str, str]) -> dict[str, str]:
    """Return all properties of one start; `more` has the last word."""
    listeners = f"CLIENT://{HOST}:{ports.client},INTERNAL://{HOST}:{ports.internal}"
    controller = f"CONTROLLER://{HOST}:{ports.controller}"
    return {
        **SMALL,
        "log.dirs": str(log_folder),
        "listeners": f"{listeners},{controller}",
        "advertised.listeners": f"CLIENT://{HOST}:{ports.advertised},INTERNAL://{HOST}:{ports.internal},{controller}",
        "controller.quorum.bootstrap.servers": f"{HOST}:{ports.controller}",
        **more,
    }


def as_properties_file(properties: Mapping[str, str]) -> str:
    """Return the text of a Java properties file (java.util.Properties), in ASCII."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items())


def _escaped(value: str) -> str:
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    characters = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(each) if 0x20 <= each < 0x7F else f"\\u{each:04x}" for each in characters)
