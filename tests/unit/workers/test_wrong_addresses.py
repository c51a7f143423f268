"""Addresses and files that a worker cannot serve by: refused before it joins a group, and named by their settings."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from annals.workers.process import CannotStartError, Stop, cannot_listen, host_and_port, listening
from annals.workers.reader_alone import run_alone
from annals.workers.settings import READ, Settings
from annals.workers.telemetry import Metrics
from annals.workers.web.server import WebServer
from annals.workers.worker import Worker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"api_host": "0.0.0.0"}, r"^ANNALS_API_HOST=0\.0\.0\.0 would serve anybody: set ANNALS_API_TOKENS_FILE"),
        ({"api_tokens_file": "a line"}, r"^ANNALS_API_TOKENS_FILE=.*: line 1 is not"),
        ({"api_jwks_file": "no JSON"}, r"^ANNALS_API_JWKS_FILE="),
        ({"api_peer_key_file": "short"}, r"^ANNALS_API_PEER_KEY_FILE: a key has 32 bytes"),
        ({"api_certfile": "no PEM"}, r"^ANNALS_API_CERTFILE and ANNALS_API_KEYFILE cannot be used"),
        ({"read_snapshots": "persn: events=1"}, r"^ANNALS_READ_SNAPSHOTS: there is no kind persn$"),
    ],
)
async def test_what_the_role_read_cannot_serve_by_is_refused_before_a_worker_takes_partitions(
    wrong: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Goes red when only the child finds it: the parent has then opened shards for half a minute, and drops them."""
    settings = Settings(data_dir=tmp_path / "data", web_port=0, api_port=0, bootstrap_servers="127.0.0.1:1")
    for name, value in wrong.items():
        is_file = name.endswith("file")
        given: Any = tmp_path / name if is_file else value
        if is_file:
            given.write_text(value)
            given.chmod(0o600)
        settings = replace(settings, **{name: given})
    with pytest.raises(CannotStartError, match=said):
        await Worker(settings).run()
    assert not settings.data_dir.exists()
    assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)  # no time to stop in has begun


# None is looked up: the name servers of a network may take as long as they like.
@pytest.mark.parametrize("host", ["203.0.113.9", "2001:db8::9", "fe80::1%nobody"])
async def test_an_address_that_is_not_this_machines_is_blamed_and_not_the_port(host: str) -> None:
    settings = Settings(web_host=host, web_port=0)
    web = WebServer(host, 0, Metrics(), list)
    with pytest.raises(CannotStartError, match=r"ANNALS_WEB_HOST must be a name or an address of this machine\.$"):
        await listening(web, settings)


@pytest.mark.parametrize(
    "error",
    [
        OSError("could not bind on any address out of [('203.0.113.9', 6066)]"),  # of create_server from Python 3.12 on
        OSError(errno.EADDRNOTAVAIL, "cannot assign requested address"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    ],
)
def test_a_host_is_blamed_where_no_address_of_it_can_be_bound(error: OSError) -> None:
    assert "ANNALS_WEB_HOST must be" in cannot_listen(error, "203.0.113.9", 6066, "web")


async def test_a_host_of_which_the_machine_has_no_sockets_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red where IPv6 is switched off, and asyncio returns a server that listens nowhere."""

    def no_ipv6(family: int, *options: Any) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", no_ipv6)
    with pytest.raises(CannotStartError, match=r"not supported by protocol\. ANNALS_WEB_HOST must be"):
        await listening(WebServer("::1", 0, Metrics(), list), Settings(web_host="::1", web_port=0))


async def test_a_worker_that_only_reads_has_stopped_when_it_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when the time to stop in goes on for what has ended."""
    over: list[None] = []
    monkeypatch.setattr(Stop, "over", lambda _: over.append(None))
    with pytest.raises(CannotStartError, match=r"ANNALS_WEB_HOST must be"):
        await run_alone(Settings(web_host="203.0.113.9", web_port=0, roles=READ))
    assert len(over) == 1


async def test_a_port_that_is_taken_is_blamed() -> None:
    first = WebServer("127.0.0.1", 0, Metrics(), list)
    port = await first.start()
    second = WebServer("127.0.0.1", port, Metrics(), list)
    try:
        with pytest.raises(OSError) as taken:  # noqa: PT011 - what is said of it is asserted
            await second.start()
    finally:
        await first.stop()
        await second.stop()
    assert cannot_listen(taken.value, "127.0.0.1", port, "api").endswith(
        "Choose another port with --api-port or ANNALS_API_PORT (0: a free one)."
    )


def test_an_address_is_written_as_urls_have_it() -> None:
    assert host_and_port("::1", 6066) == "[::1]:6066"
    assert host_and_port("localhost", 6066) == "localhost:6066"
