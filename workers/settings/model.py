"""Every setting with its default, unit and meaning: the reference, the options and the checks are made from this."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from annals.workers.settings import values
from annals.workers.settings.metadata import SettingMeta, meta
from annals.workers.settings.reading import ReadingSettings

if TYPE_CHECKING:
    from annals.workers.settings.values import Secret

WRITE: Final = "write"
READ: Final = "read"
ROLES: Final = (WRITE, READ)


class SettingsError(Exception):
    """One or more settings are wrong: each line of the message names one, what is wrong and what it may be."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ReadingSettings):
    """The settings of a worker or a command. Made by `load_settings`; in tests directly, unchecked."""

    bootstrap_servers: str = field(
        default="127.0.0.1:9092",
        metadata=meta(
            values.servers, "Kafka brokers to ask first, with commas between them", unit="host:port", group="kafka"
        ),
    )
    app_id: str = field(
        default="annals", metadata=meta(values.kafka_name, "the consumer group is <prefix><app id>", group="kafka")
    )
    topic_prefix: str = field(
        default="", metadata=meta(values.topic_prefix, "what every topic's name begins with", group="kafka")
    )
    partitions: int = field(
        default=4,
        metadata=meta(
            values.whole_number(1, 10_000),
            "partitions of topics that are created; never changed afterwards",
            group="topics",
        ),
    )
    replication_factor: int = field(
        default=1,
        metadata=meta(
            values.whole_number(1, 32_767),
            "copies of topics that are created; below 3 a lost disk loses events",
            group="topics",
        ),
    )
    create_topics: bool = field(
        default=False, metadata=meta(values.switch, "create missing topics when the worker starts", group="topics")
    )
    instance_id: str | None = field(
        default=None,
        metadata=meta(
            values.optional(values.kafka_name),
            "static membership: a restart within the session moves no partition",
            group="kafka",
        ),
    )
    data_dir: Path = field(
        default=Path("annals-data"),
        metadata=meta(values.folder, "where the stores are kept; can be deleted, the journal has it all"),
    )
    web_host: str = field(
        default="127.0.0.1", metadata=meta(values.host, "address that health and metrics are served on", group="web")
    )
    web_port: int = field(
        default=6066,
        metadata=meta(values.whole_number(0, 65535), "port of health and metrics; 0 takes a free one", group="web"),
    )
    roles: str = field(
        default=",".join(ROLES),
        metadata=meta(
            values.some_of(*ROLES),
            "what this worker does: it decides commands, or serves what is read and published, or both",
        ),
    )
    security_protocol: str = field(
        default="PLAINTEXT",
        metadata=meta(
            values.one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
            "how brokers are talked to",
            group="connection",
        ),
    )
    sasl_mechanism: str = field(
        default="PLAIN",
        metadata=meta(
            values.one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "how SASL proves who we are", group="connection"
        ),
    )
    sasl_username: str | None = field(
        default=None, metadata=meta(values.optional(values.text), "SASL user", group="connection")
    )
    sasl_password: Secret | None = field(
        default=None, metadata=meta(values.optional(values.secret), "SASL password", group="connection")
    )
    ssl_cafile: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file), "authorities to trust, PEM; unset: the system's", group="connection"
        ),
    )
    ssl_certfile: Path | None = field(
        default=None,
        metadata=meta(values.optional(values.readable_file), "client certificate, PEM", group="connection"),
    )
    ssl_keyfile: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file), "private key of the client certificate, PEM", group="connection"
        ),
    )
    ssl_key_password: Secret | None = field(
        default=None,
        metadata=meta(values.optional(values.secret), "what the private key is encrypted with", group="connection"),
    )
    schema_registry_url: str | None = field(
        default=None,
        metadata=meta(
            values.optional(values.web_address),
            "a Confluent-compatible schema registry to register all schemas at; unset: none",
            group="schemas",
        ),
    )
    schema_registry_username: str | None = field(
        default=None,
        metadata=meta(values.optional(values.text), "the registry's user (basic authentication)", group="schemas"),
    )
    schema_registry_password: Secret | None = field(
        default=None, metadata=meta(values.optional(values.secret), "the registry's password", group="schemas")
    )
    max_command_bytes: int = field(
        default=1_000_000,
        metadata=meta(
            values.whole_number(1, 4_000_000),
            "largest command, unpacked; what is larger is a dead letter",
            unit="bytes",
            group="limits",
        ),
    )
    max_events_per_aggregate: int | None = field(
        default=None,
        metadata=meta(
            values.optional(values.whole_number(1, 2**53)),
            "events that an aggregate may have; unset: no limit",
            unit="events",
            group="limits",
        ),
    )
    restore_point_events: int = field(
        default=100_000,
        metadata=meta(
            values.whole_number(0, 1_000_000_000),
            "a shard's restore point is made after so many events; 0: none is made or used",
            unit="events",
        ),
    )
    restore_point_seconds: int = field(
        default=600,
        metadata=meta(values.whole_number(1, 604_800), "or after so long, if there are any events", unit="s"),
    )
    standby_replicas: int = field(
        default=0,
        metadata=meta(
            values.whole_number(0, 5),
            "workers that keep each partition ready to take it over at once, beside the one that has it; where workers "
            "differ, the largest number holds, and a worker with 0 keeps none ready",
        ),
    )
    snapshot_every: int = field(
        default=100,
        metadata=meta(
            values.whole_number(0, 2**53),
            "an aggregate's snapshot is published each time its version passes a multiple of this; 0: never",
            unit="events",
            group="limits",
        ),
    )
    accept_expired: bool = field(
        default=False,
        metadata=meta(values.switch, "go on although commands expired before they were decided", group="limits"),
    )
    compression: str = field(
        default="zstd",
        metadata=meta(
            values.one_of("none", "gzip", "snappy", "lz4", "zstd"), "codec of what the worker writes to Kafka"
        ),
    )
    store_compression: str = field(
        default="lz4",
        metadata=meta(values.one_of("none", "lz4", "zstd"), "codec of the stores' files"),
    )
    state_cache_bytes: int = field(
        default=64 << 20,
        metadata=meta(
            values.whole_number(0, 2**40),
            "hot states kept in memory, all partitions together",
            unit="bytes",
            group="limits",
        ),
    )
    store_cache_bytes: int = field(
        default=64 << 20,
        metadata=meta(
            values.whole_number(1 << 20, 2**40),
            "RocksDB's block cache, all partitions together",
            unit="bytes",
            group="limits",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=meta(values.one_of("debug", "info", "warning", "error"), "least severity that is logged", group="log"),
    )
    log_format: str = field(
        default="auto",
        metadata=meta(
            values.one_of("auto", "json", "console"), "auto: readable on a terminal, otherwise JSON lines", group="log"
        ),
    )
    cache_dir: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.folder),
            "where `annals broker` keeps Kafka; unset: annals in the user's cache folder",
        ),
    )

    def has(self, role: str) -> bool:
        """Whether the worker has a role."""
        return role in self.roles.split(",")


def settings_metadata() -> tuple[SettingMeta, ...]:
    """Return every setting, in the order in which they are shown."""
    return tuple(
        SettingMeta(
            name=each.name,
            default=each.default,
            parse=each.metadata["parse"],
            unit=each.metadata["unit"],
            help=each.metadata["help"],
            group=each.metadata["group"],
            is_secret="Secret" in str(each.type),
            is_switch=each.type == "bool",
        )
        for each in dataclasses.fields(Settings)
    )
