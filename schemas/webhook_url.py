"""The form of a webhook's URL. Where it leads is looked at when it is used."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

HIGHEST_PORT: Final = 65_535

_URL: Final = re.compile(r"https?://([^/?#]+)(?:[/?][!-~]*)?", re.ASCII)
_HOST: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


def url_problem(url: str) -> str | None:
    """Return what is wrong with a webhook's URL, as the end of a sentence (`must …`); None: nothing."""
    form = _URL.fullmatch(url)
    if form is None or "\\" in url:
        return "must be an absolute https URL in printable ASCII"
    if "#" in url:
        return "must have no fragment"
    return _authority_problem(form[1])


def _authority_problem(authority: str) -> str | None:
    """Return what is wrong with `host[:port]`, the part between `https://` and the path; None: nothing."""
    if "@" in authority:
        return "must have no user info"
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "443"
    form = _HOST.fullmatch(host)
    if form is None:
        return "must have a host name or an address; other letters than ASCII in the form of IDNA (xn--…)"
    if not (_is_ipv6(form[1]) if form[1] is not None else _is_name_or_ipv4(form[2])):
        return "must have an address in its usual form, or a host name"
    if not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or not 0 < int(port) <= HIGHEST_PORT:
        return f"must have a port from 1 to {HIGHEST_PORT}"
    return None


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_name_or_ipv4(text: str) -> bool:
    """No name ends in a number; resolvers take `127.1`, `2130706433` and `0x7f.1` for addresses (WHATWG URL, 3.5)."""
    if not _NUMBER.fullmatch(text.removesuffix(".").rpartition(".")[2]):
        return True
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
