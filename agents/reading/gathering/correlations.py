"""What was caused by what: the commands of a correlation and their events as trees. Pure.

A node is a command that has events: its kind, aggregate and command id. Its parent is the command whose id, or one of
whose events' CIDs, is its causation id, within the correlation. One that has no parent is a root. Causation ids are the
producers', so that commands may form a ring: the first of it by time is a root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.found import FoundEvent

MOST_EVENTS: Final = 10_000


class Node(NamedTuple):
    """A command of a correlation, its events by version, and what it caused, by time."""

    command_id: str
    causation_id: str | None
    events: list[FoundEvent]
    children: list[Node]


def causation_trees(events: Sequence[FoundEvent]) -> list[Node]:
    """Return the roots of events of one correlation, by time, then kind, partition and offset."""
    nodes = _nodes(events)
    parents = _parents(nodes)
    roots = [number for number, parent in enumerate(parents) if parent is None]
    seen = _below(roots, parents)
    for number in range(len(nodes)):  # what is left are rings and what hangs on them; the first by time comes first
        if number not in seen:
            root = _first_of_ring(number, parents)
            parents[root] = None
            roots.append(root)
            seen |= _below([root], parents)
    for number, parent in enumerate(parents):
        if parent is not None:
            nodes[parent].children.append(nodes[number])
    return [nodes[number] for number in sorted(roots)]


def _nodes(events: Sequence[FoundEvent]) -> list[Node]:
    commands: dict[tuple[str, str, str], list[FoundEvent]] = {}
    for found in sorted(events, key=_time):
        event = found.event
        commands.setdefault((event["kind"], event["aggregate_id"], event["command_id"]), []).append(found)
    return [Node(command_id, own[0].event["causation_id"], own, []) for (_, _, command_id), own in commands.items()]


def _time(found: FoundEvent) -> tuple[str, str, int, int]:
    return found.event["recorded_at"], found.event["kind"], found.partition, found.offset


def _parents(nodes: Sequence[Node]) -> list[int | None]:
    """Return the parent of each node; where several commands have an id, that is the first other one by time."""
    causes: dict[str, list[int]] = {}
    for number, node in enumerate(nodes):
        for name in (node.command_id, *(cid_text(found.cid) for found in node.events)):
            causes.setdefault(name, []).append(number)
    return [
        next((cause for cause in causes.get(node.causation_id or "", [])[:2] if cause != number), None)
        for number, node in enumerate(nodes)
    ]


def _below(roots: Sequence[int], parents: Sequence[int | None]) -> set[int]:
    children: dict[int, list[int]] = {}
    for number, parent in enumerate(parents):
        if parent is not None:
            children.setdefault(parent, []).append(number)
    seen, left = set(roots), list(roots)
    while left:
        for child in children.get(left.pop(), ()):
            if child not in seen:
                seen.add(child)
                left.append(child)
    return seen


def _first_of_ring(number: int, parents: Sequence[int | None]) -> int:
    """Return the first node of the ring to which the causes of a node lead."""
    passed: list[int] = []
    place: dict[int, int] = {}
    at = number
    while at not in place:
        place[at] = len(passed)
        passed.append(at)
        following = parents[at]
        if following is None:  # it leads to a root: no ring
            return at
        at = following
    return min(passed[place[at] :])
