"""All laws of a decider in one line, `test_the_laws_hold = laws_of(VEHICLE)`; hypothesis is in the extra `testing`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.agents.testing import laws
from annals.agents.testing.histories import aimed, histories, states
from annals.agents.testing.strategies import commands, events, structs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

EXAMPLES = 60


def laws_of(
    decider: Decider[Any], beginnings: Sequence[Sequence[Message]] = (), max_examples: int = EXAMPLES
) -> Callable[[], None]:
    """Return a test that raises AssertionError, with the counterexample, where a decider breaks a law.

    Args:
        decider: whose laws they are.
        beginnings: commands that lead where drawn ones seldom get; half of the histories go on from one of them.
        max_examples: how often each law is tried.
    """
    # Histories are drawn by deciding: slow to draw the first time, while strategies are being made from the types.
    lively = settings(
        deadline=None,
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.too_slow],
        report_multiple_bugs=False,
    )
    past = histories(decider, beginnings)
    state = states(decider, beginnings)
    # Each by itself, so that what breaks one is made small by looking at that one alone.
    asked = state.flatmap(lambda drawn: st.tuples(st.just(drawn), _sent_to(decider, drawn)))

    def holds(law: Callable[[Any], None], of: st.SearchStrategy[Any]) -> None:
        lively(given(of)(lambda drawn: law(drawn)))()  # noqa: PLW0108 - a partial is no function

    def test_the_laws_hold() -> None:
        laws.statuses_are_reachable(decider)
        laws.terminal_statuses_have_no_exits(decider)
        laws.creation_is_the_only_beginning(decider)
        for of_command in (
            laws.every_command_is_idempotent,
            laws.every_pair_is_handled_or_refused,
            laws.decisions_leave_no_trace,
        ):
            holds(lambda drawn, law=of_command: law(decider, *drawn), asked)  # type: ignore[misc]
        holds(lambda drawn: laws.evolve_is_total(decider, *drawn), st.tuples(state, events(decider)))
        for of_history in (
            laws.every_step_is_idempotent,
            laws.evolve_moves_along_edges,
            laws.replay_gives_the_state,
            laws.snapshots_change_nothing,
        ):
            holds(partial(of_history, decider), past)
        holds(partial(laws.parsing_takes_what_was_sent, decider), commands(decider))
        for name, version, older in _former_versions(decider):
            holds(partial(laws.upcasting_is_total, decider, name, version), structs(older))

    return test_the_laws_hold


def _sent_to(decider: Decider[Any], state: Any) -> st.SearchStrategy[Message]:
    return commands(decider).flatmap(lambda command: aimed(command, state))


def _former_versions(decider: Decider[Any]) -> Iterator[tuple[str, int, type[Message]]]:
    for name, spec in decider.events.items():
        for version, upcaster in enumerate(spec.upcasters, start=1):
            yield name, version, upcaster.older
