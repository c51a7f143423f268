"""Where a webhook may lead: to public addresses, and to those ranges that the operator permits.

Whoever may make a subscription chooses its URL: without this rule they could have a worker post to its own machine, to
its neighbours, or to the address from which a cloud hands out credentials.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Network = IPv4Network | IPv6Network

# Python's `is_global` differs between its versions, and takes an address that has another one inside as public.
NEVER_PUBLIC: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
            "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
        ),
    )
)  # fmt: skip


def refusal(address: str, allowed: Sequence[Network]) -> str | None:
    """Return why nothing is sent to an address; None: it may be."""
    try:
        found = ip_address(address)
    except ValueError:
        return f"{address!r} is no address"
    if is_in(found, allowed):
        return None
    if is_in(found, NEVER_PUBLIC) or not found.is_global:
        return f"{address} is not public, and in no range of ANNALS_WEBHOOK_ALLOW"
    return None


def is_in(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of these."""
    return any(address.version == network.version and address in network for network in networks)


def is_allowed(address: str, allowed: Sequence[Network]) -> bool:
    """Return whether the operator permits an address by a range, so that it may be used without TLS."""
    return is_address(address) and is_in(ip_address(address), allowed)


def url_problem(url: str, allowed: Sequence[Network]) -> str | None:
    """Return what is wrong with a well-formed URL here, as far as that can be told without looking its host up."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not allowed:
        return "must be https: http is for the ranges of ANNALS_WEBHOOK_ALLOW, and there are none"
    host = (parts.hostname or "").removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return None if any(is_allowed(each, allowed) for each in ("127.0.0.1", "::1")) else "leads to this machine"
    if not is_address(host):
        return None
    if parts.scheme == "http" and not is_allowed(host, allowed):
        return f"must be https: {host} is in no range of ANNALS_WEBHOOK_ALLOW"
    return refusal(host, allowed)


def is_address(host: str) -> bool:
    """Return whether a host is an address, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def networks(text: str) -> tuple[Network, ...]:
    """Return the ranges that a text names, with commas between them.

    Raises:
        ValueError: one is no range.
    """
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())
