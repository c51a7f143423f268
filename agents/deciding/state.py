"""What states and their parts are: immutable, and small as MessagePack, since every aggregate has one in a store."""

from __future__ import annotations

from typing import dataclass_transform

import msgspec

from annals.agents.deciding.machine import ABSENT


@dataclass_transform(frozen_default=True, kw_only_default=True)
class StatePart(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A part of a state: a unit, a step, a task. Encoded as its values in order, without their names."""

    __test__ = False  # as of messages


class State(StatePart):
    """What is known of one aggregate. Every member has a default, so that the type itself says what absent is."""

    status: str = ABSENT
