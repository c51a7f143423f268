"""The laws of a reaction in one line, `test_the_laws_hold = reaction_laws_of(REMINDERS)`; needs the extra `testing`.

1. Any cut of the events into batches gives the same rows and commands: states and timers outlast a restart as they are.
2. The same events give the same the second time: no clock and no chance, so that a reaction that is redone is a
   `duplicate`.
3. Every event that it wants is taken, in any order, and every timer that it sets can fire.
4. In a quiet run it keeps the same, and sends nothing.
5. What it sends is a command that its kind's aggregate can read.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.agents.testing.kinds import named_or_all
from annals.agents.testing.reactions import GivenReaction
from annals.agents.testing.strategies import structs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.reactions.reaction import Reaction

EXAMPLES: Final = 60
IDS: Final = ("a", "b", "\u00c4\x00")
TIMES: Final = tuple(f"2026-01-0{day}T00:00:00.000000Z" for day in range(1, 6))
END_OF_TIME: Final = "9999-12-31T23:59:59Z"


def reaction_laws_of(
    reaction: Reaction[Any], deciders: Mapping[str, Decider[Any]] | None = None, max_examples: int = EXAMPLES
) -> Callable[[], None]:
    """Return a test that raises AssertionError, with the counterexample, where a reaction breaks a law.

    Args:
        reaction: whose laws they are.
        deciders: those of the events of its kind and of the commands that it sends; by default all that are registered.
        max_examples: how often the laws are tried.
    """
    known = named_or_all(deciders)
    wanted = sorted(reaction.wanted, key=lambda each: each.__name__)
    occurred = st.one_of([st.tuples(st.sampled_from(IDS), structs(each), st.sampled_from(TIMES)) for each in wanted])
    lively = settings(deadline=None, max_examples=max_examples, suppress_health_check=[HealthCheck.too_slow])

    def run(journal: list[Any], cuts: Iterable[int] = (), *, is_quiet: bool = False) -> GivenReaction:
        found = GivenReaction(reaction, known)
        events = found.events(journal)
        ends = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
        for first, last in itertools.pairwise(ends):
            found.take(events[first:last], is_quiet=is_quiet)
        return found

    @lively
    @given(st.lists(occurred, max_size=15), st.lists(st.integers(0, 15), max_size=5))
    def the_laws_hold(journal: list[Any], cuts: list[int]) -> None:
        whole, cut, quiet = run(journal), run(journal, cuts), run(journal, is_quiet=True)
        assert run(journal).rows == whole.rows, "the same events are kept otherwise the second time"  # noqa: S101
        assert cut.rows == whole.rows, "another cut of the events is kept otherwise"  # noqa: S101
        assert cut.commands == whole.commands, "another cut of the events sends other commands"  # noqa: S101
        assert quiet.rows.keys() == whole.rows.keys(), "what is kept depends on whether commands are sent"  # noqa: S101
        assert not quiet.commands, "a quiet run sends commands"  # noqa: S101
        for each in whole.commands + whole.at(END_OF_TIME).commands:
            said = msgspec.json.decode(each.value)
            assert said["type"] in known[each.kind].commands, f"no command {said['type']} of {each.kind}"  # noqa: S101

    return the_laws_hold
