"""What caused what: every event of a correlation is in the trees once, whatever causation ids producers give."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from annals.agents.reading.found import FoundEvent
from annals.agents.reading.gathering.correlations import causation_trees
from annals.schemas.chain import read_block
from annals.schemas.cid import cid_text
from gathered import event

if TYPE_CHECKING:
    from annals.agents.reading.gathering.correlations import Node
    from chained import Sealed


def found(made: Sealed, offset: int) -> FoundEvent:
    block = made.value or b""
    return FoundEvent(read_block("person", block), block, made.cid, 0, offset)


def command(name: str, cause: str | None, second: int, *, of: str | None = None, events: int = 1) -> list[Sealed]:
    made: list[Sealed] = []
    for _ in range(events):
        last = made[-1] if made else None
        made.append(event("person", of or f"p-{name}", last, second, command_id=name, causation_id=cause))
    return made


def trees(*commands: list[Sealed]) -> list[Any]:
    events = [found(made, offset) for offset, made in enumerate(chain.from_iterable(commands))]
    return [shape(root) for root in causation_trees(events)]


def shape(node: Node) -> Any:
    return (node.command_id, [shape(child) for child in node.children]) if node.children else node.command_id


def test_a_command_is_below_the_command_or_the_event_that_caused_it() -> None:
    first = command("a", None, 0, events=2)
    by_event = command("b", cid_text(first[1].cid), 1)
    assert trees(by_event, command("c", "a", 2), command("d", "b", 3), first) == [("a", [("b", ["d"]), "c"])]


def test_what_was_caused_from_outside_of_the_correlation_is_a_root() -> None:
    assert trees(command("b", "elsewhere", 1), command("a", None, 0)) == ["a", "b"]


def test_the_first_of_a_ring_by_time_is_a_root() -> None:
    ring = command("a", "c", 3), command("b", "a", 1), command("c", "b", 2)
    assert trees(*ring, command("d", "a", 4)) == [("b", [("c", [("a", ["d"])])])]
    assert trees(command("a", "a", 0)) == ["a"]


def test_commands_of_one_id_at_two_aggregates_are_two() -> None:
    assert trees(command("a", None, 0, of="p-1"), command("a", "a", 1, of="p-2")) == [("a", ["a"])]


def test_a_chain_of_thousands_needs_no_deep_stack() -> None:
    commands = [command(str(number), str(number - 1), 0) for number in range(5_000)]
    (root,) = causation_trees([found(made, offset) for offset, (made,) in enumerate(commands)])
    depth = 1
    while root.children:
        (root,) = root.children
        depth += 1
    assert depth == 5_000


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.tuples(st.none() | NAMES, st.integers(0, 5), st.integers(1, 3)), max_size=6))
def test_every_command_is_there_once(commands: dict[str, Any]) -> None:
    made = [command(name, cause, second, events=events) for name, (cause, second, events) in commands.items()]
    roots = causation_trees([found(each, offset) for offset, each in enumerate(chain.from_iterable(made))])
    seen: list[str] = []

    def walk(node: Node) -> None:
        seen.append(node.command_id)
        assert [each.event["version"] for each in node.events] == list(range(1, commands[node.command_id][2] + 1))
        for child in node.children:
            assert child.causation_id == node.command_id
            walk(child)

    for root in roots:
        walk(root)
    assert sorted(seen) == sorted(commands)
