"""Headers that are lists, as `If-None-Match`, and what a caller prefers by some (RFC 9110, sections 5.3 and 12)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_WEIGHT: Final = re.compile(r"\s*q\s*=\s*(0(\.[0-9]{0,3})?|1(\.0{0,3})?)\s*", re.ASCII | re.IGNORECASE)


def listed(headers: Mapping[str, str], name: str) -> str:
    """Return a header that is a list, which may be sent in several lines, as one; empty where there is none."""
    return ", ".join(text for sent, text in headers.items() if sent.lower() == name)


def weights_of(header: str) -> dict[str, float]:
    """Return the weight of each name of a header, in lower case: 1 unless it says another, 0 for what is refused."""
    weights: dict[str, float] = {}
    for entry in header.lower().split(","):
        name, *parameters = entry.split(";")
        found = [form for form in map(_WEIGHT.fullmatch, parameters) if form]
        weights[name.strip()] = float(found[-1][1]) if found else 1.0
    return weights
