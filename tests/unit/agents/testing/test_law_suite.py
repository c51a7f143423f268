"""The laws in one line: they hold of every aggregate, and each that is broken is told with its counterexample."""

from __future__ import annotations

from typing import Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.machine import On
from annals.agents.testing.suite import laws_of
from annals.schemas.data.upcast import Upcast
from annals.schemas.messages import Message
from lamp import LampHung, ThrowAway, ThrownAway, lamp, lamp_machine

test_the_laws_of_a_lamp_hold = laws_of(lamp(), max_examples=10)
test_the_laws_of_locations_with_their_former_versions_hold = laws_of(REGISTRY["location"], max_examples=10)


class LampHung1(Message):
    size: int


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"upcasters": {LampHung: (Upcast(LampHung1, lambda data: data),)}}, "is not read"),
        ({"machine": lamp_machine(throw=On(ThrowAway, (ThrownAway,)))}, "no edge leads to"),
    ],
)
def test_a_broken_law_is_told(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        laws_of(lamp(**changed), max_examples=5)()
