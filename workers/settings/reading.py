"""The settings of the role `read`: its API, what rests on it, and its stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from annals.workers.settings import values
from annals.workers.settings.metadata import meta
from annals.workers.settings.snapshots import snapshots

if TYPE_CHECKING:
    from pathlib import Path

    from annals.workers.settings.values import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingSettings:
    """Those settings that `read` alone has, and commands that ask its API."""

    api_host: str = field(
        default="127.0.0.1", metadata=meta(values.host, "address that the API is served on", group="reading")
    )
    api_port: int = field(
        default=6067,
        metadata=meta(values.whole_number(0, 65535), "port of the API; 0 takes a free one", group="reading"),
    )
    api_advertised_url: str | None = field(
        default=None,
        metadata=meta(
            values.optional(values.web_address),
            "where other workers reach this one's API; unset: the address that it is served on",
            group="reading",
        ),
    )
    publish: bool = field(
        default=True,
        metadata=meta(
            values.switch,
            "publish to subscribers; the same on every worker that reads",
            group="reading",
        ),
    )
    api_tokens_file: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file),
            "who may use the API: a line each with the SHA-256 of the token in hex, name, scopes",
            group="reading",
        ),
    )
    api_jwks_file: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file),
            "keys that JWTs for the API are signed with (a JWK set)",
            group="reading",
        ),
    )
    api_peer_key_file: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file),
            "key with which workers sign the requests that they forward to one another",
            group="reading",
        ),
    )
    api_jwt_issuer: str | None = field(
        default=None,
        metadata=meta(values.optional(values.text), "what a token's `iss` must be; unset: anything", group="reading"),
    )
    api_jwt_audience: str | None = field(
        default=None,
        metadata=meta(
            values.optional(values.text),
            "what a token's `aud` must name; unset: a token that has one is refused",
            group="reading",
        ),
    )
    api_certfile: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file),
            "certificate of the API, PEM: it is then served by TLS",
            group="reading",
        ),
    )
    api_keyfile: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file), "private key of the API's certificate, PEM", group="reading"
        ),
    )
    api_requests_per_second: int | None = field(
        default=10_000,
        metadata=meta(
            values.optional(values.whole_number(1, 10_000_000)),
            "requests that one caller (one address, for who is not known) may make; empty: no limit",
            unit="requests per second",
            group="reading",
        ),
    )
    api_connections: int = field(
        default=1_000,
        metadata=meta(
            values.whole_number(1, 1_000_000),
            "connections to the API, three quarters of them streams; beyond, the longest silent one makes room",
            unit="connections",
            group="reading",
        ),
    )
    api_url: str = field(
        default="http://127.0.0.1:6067",
        metadata=meta(
            values.web_address,
            "where commands that ask the API find one; any worker answers for all",
            unit="url",
            group="asking",
        ),
    )
    api_token: Secret | None = field(
        default=None,
        metadata=meta(values.optional(values.bearer_token), "the bearer token that they have", group="asking"),
    )
    api_timeout_s: int = field(
        default=30,
        metadata=meta(
            values.whole_number(1, 3_600),
            "what answering a request may take, beside the seconds that it asks to wait",
            unit="seconds",
            group="reading",
        ),
    )
    deployment: str | None = field(
        default=None,
        metadata=meta(
            values.optional(values.deployment),
            "this deployment's name among others, needed where it takes events of others",
            group="reading",
        ),
    )
    foreign_journals_file: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.readable_file),
            "other deployments whose events reactions want, a TOML table each; unset: there are none",
            group="reading",
        ),
    )
    replay_dir: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.folder),
            "folder of the files that replays asked for over HTTP may write, made where it is not there; unset: they "
            "may write none",
            group="reading",
        ),
    )
    webhook_secrets_dir: Path | None = field(
        default=None,
        metadata=meta(
            values.optional(values.folder_there),
            "secrets of webhooks, a file each, which may come later: its name is the secret's; unset: there are no "
            "webhooks",
            group="reading",
        ),
    )
    webhook_allow: str = field(
        default="",
        metadata=meta(values.networks, "ranges beside the public ones that webhooks may lead to", group="reading"),
    )
    read_cache_bytes: int = field(
        default=32 << 20,
        metadata=meta(
            values.whole_number(1 << 20, 2**40),
            "RocksDB's block cache of the reading stores, all partitions together",
            unit="bytes",
            group="limits",
        ),
    )
    read_state_cache_bytes: int = field(
        default=16 << 20,
        metadata=meta(
            values.whole_number(0, 2**40),
            "recently asked states of the role `read` in memory, all partitions together, 10 minutes at most",
            unit="bytes",
            group="limits",
        ),
    )
    read_snapshots: str = field(
        default="events=1000,keep=20",
        metadata=meta(
            snapshots,
            "when reading stores keep snapshots, and how long: a policy of a kind or of all others, as "
            "`events=1000,keep=20; workflow: bytes=100000,seconds=86400,keep_seconds=604800,largest=1000000`",
            group="limits",
        ),
    )
