"""How many files a worker may have open, and how many its shards need.

A shard has files of its own (RocksDB's lock, log, manifest, folder and a few tables) and connections to brokers. Where
they run out, everything suffers: other shards, the group's consumer, even the answer that would say so.
"""

from __future__ import annotations

import resource
from typing import Final

import structlog

log = structlog.get_logger(__name__)

RESERVED: Final = 100  # the group's consumer, the watch, the web server's connections, Python itself
SHARD: Final = 8  # measured: 6 of RocksDB, and connections to brokers
FIRST_TABLES: Final = 2  # without which a shard does not work at all
LEAST_CONNECTIONS: Final = 32  # to the API, however few files there are
LEAST_TABLES: Final = 20  # RocksDB takes no less for `max_open_files`
MOST_TABLES: Final = 128  # of 64 MiB each: 8 GiB, or some hundred million command ids


def needed(shards: int) -> int:
    """Return the files without which so many shards cannot work."""
    return RESERVED + shards * (SHARD + FIRST_TABLES)


def most_shards(limit: int) -> int:
    """Return how many shards can work with so many files."""
    return max(0, (limit - RESERVED) // (SHARD + FIRST_TABLES))


def tables(limit: int, shards: int) -> int:
    """Return how many tables each of so many stores may keep open."""
    return max(LEAST_TABLES, min(MOST_TABLES, (limit - RESERVED) // max(1, shards) - SHARD))


def connections(limit: int, shards: int, wanted: int) -> int:
    """Return how many clients may be connected beside so many shards: of what these do not need, at most a half."""
    most = max(LEAST_CONNECTIONS, min(wanted, (limit - needed(shards)) // 2))
    if most < wanted:
        log.warning("too few files for all connections to the API", limit=limit, connections=most, wanted=wanted)
    return most


def raise_limit(shards: int, connections: int = 0) -> int:
    """Raise this process's soft limit to what so many shards can use, at most to the hard one; return what it is.

    connections: of clients, that have files beside.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVED + connections + shards * (SHARD + MOST_TABLES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if limit > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < needed(shards):
        log.warning("too few files for all shards", limit=limit, needed=needed(shards), shards=shards)
    return max(limit, soft)


def too_few(limit: int, shards: int) -> str | None:
    """Return what to tell an operator when so many shards have no room in the limit; None when they have."""
    if shards <= most_shards(limit):
        return None
    return (
        f"{shards} shards need {needed(shards)} open files, and this process may have {limit}, its hard limit: only "
        f"{most_shards(limit)} are opened. Raise it (ulimit -Hn, LimitNOFILE of systemd, --ulimit nofile of Docker), "
        f"or run more workers."
    )
