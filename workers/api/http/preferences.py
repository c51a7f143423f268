"""What a caller prefers, by headers such as `Accept` and `Accept-Encoding` (RFC 9110, section 12)."""

from __future__ import annotations

import re
from typing import Final

_WEIGHT: Final = re.compile(r"\s*q\s*=\s*(0(\.[0-9]{0,3})?|1(\.0{0,3})?)\s*", re.ASCII | re.IGNORECASE)


def weights_of(header: str) -> dict[str, float]:
    """Return the weight of each name of a header, in lower case: 1 unless it says another, 0 for what is refused."""
    weights: dict[str, float] = {}
    for entry in header.lower().split(","):
        name, *parameters = entry.split(";")
        found = [form for form in map(_WEIGHT.fullmatch, parameters) if form]
        weights[name.strip()] = float(found[-1][1]) if found else 1.0
    return weights
