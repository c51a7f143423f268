"""A wagon of another kind, with topics of its own: for faults that must stop one kind and leave the others alone."""

from typing import Final

from wagon import MACHINE, Wagon, already_true, decide, evolve

from annals.agents.deciding.decider import Decider

BARGE: Final = Decider(
    "barge", MACHINE, Wagon(), state_version=1, already_true=already_true, decide=decide, evolve=evolve
)
