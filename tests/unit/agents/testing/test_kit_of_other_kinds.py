"""The kit for projections and reactions knows the kinds that other distributions register, as `given` does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from annals.agents import registered
from annals.agents.projections.projection import Projection, Row
from annals.agents.reactions.reaction import Occurred, Reacted, Reaction
from annals.agents.testing.workbench import Workbench
from annals.schemas.commands import command
from annals.testing import given_events, given_reaction, projection_laws_of, reaction_laws_of
from lamp import HangLamp, LampHung, SwitchOn, lamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.projections.projection import Happened, ProjectionRows


class Hung(Row, kw_only=True):
    """A lamp that hangs."""


class Nothing(Struct, frozen=True):
    """There is nothing to remember."""


def fold(event: Happened, rows: ProjectionRows[Hung]) -> None:
    rows.put(Hung(kind=event.kind, aggregate_id=event.aggregate_id), event.aggregate_id)


def react(state: Nothing, event: Occurred) -> Reacted[Nothing]:
    return Reacted(None, [command("lamp", event.aggregate_id, SwitchOn())])


HANGING = Projection("hanging", 1, {"lamp": frozenset({LampHung})}, Hung, (), lambda _: {}, fold)
LIGHT_UP = Reaction("light-up", 1, "lamp", frozenset({LampHung}), Nothing, react)


@pytest.fixture(autouse=True)
def _lamp_is_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    point = SimpleNamespace(name="lamp", value="lamp:LAMP", load=lamp)
    monkeypatch.setattr(registered, "entry_points", lambda group: [point] if group == registered.GROUP else [])
    registered.deciders.cache_clear()
    yield
    registered.deciders.cache_clear()


def test_rows_of_another_kind_are_tested_without_naming_its_decider() -> None:
    rows = given_events("lamp", "l-1", LampHung(bulb="e27")).project(HANGING)
    rows.then_rows({("l-1",): Hung(kind="lamp", aggregate_id="l-1")})
    projection_laws_of(HANGING, max_examples=2)()


def test_a_reaction_to_another_kind_is_tested_without_naming_its_decider() -> None:
    given_reaction(LIGHT_UP).on("l-1", LampHung(bulb="e27")).then(command("lamp", "l-1", SwitchOn()))
    reaction_laws_of(LIGHT_UP, max_examples=2)()


def test_a_workbench_answers_commands_of_another_kind() -> None:
    assert Workbench().send(command("lamp", "l-1", HangLamp(bulb="e27")).with_id("a")).status == "accepted"
