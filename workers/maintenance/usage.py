"""How many events of each type and schema version are stored, and whether this release reads them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.workers.audit.journals import find_journals
from annals.workers.maintenance.walk import connected, events_of
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.workers.settings import Settings


MOST_TYPES: Final = 10_000
LONGEST_TYPE: Final = 256
OTHERS: Final = "…"
"""Stands for all further types: anybody who may write to a journal can name an event as he likes."""


class Usage(NamedTuple):
    """A type in a version: how many events, and whether this release knows it."""

    kind: str
    type: str
    version: int
    events: int
    is_known: bool


async def usage(settings: Settings, kinds: Sequence[str]) -> list[Usage]:
    """Count the events of these kinds, in the order of kinds, types and versions.

    Raises:
        MissingTopicError: a kind has no journal.
        KafkaError: the brokers do not answer.
        RangeGoneError: a journal was cut while it was read.
    """
    journals = await find_journals(settings, kinds)
    counted: Counter[tuple[str, str, int]] = Counter()
    async with connected(settings, sorted({journal.place.topic for journal in journals})) as client:
        for journal in journals:
            async for event, _ in events_of(client, journal):
                found = (journal.place.kind, event["type"][:LONGEST_TYPE], event["schema_version"])
                is_kept = found in counted or len(counted) < MOST_TYPES or _is_known(*found)
                counted[found if is_kept else (journal.place.kind, OTHERS, 0)] += 1
    order = {kind: number for number, kind in enumerate(kinds)}
    sorted_ = sorted(counted.items(), key=lambda each: (order[each[0][0]], *each[0][1:]))
    return [Usage(*key, number, _is_known(*key)) for key, number in sorted_]


def _is_known(kind: str, type_name: str, version: int) -> bool:
    spec = deciders()[kind].events.get(type_name)
    return spec is not None and 1 <= version <= spec.schema_version
