"""The reactions, by name: one line each. None of them knows another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.reactions.assign_tasks import ASSIGN_TASKS
from annals.agents.reactions.complete_steps import COMPLETE_STEPS
from annals.agents.reactions.expire_deadlines import EXPIRE_DEADLINES
from annals.agents.reactions.fail_steps import FAIL_STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.reactions.reaction import Reaction

REGISTRY: Final[Mapping[str, Reaction[Any]]] = {
    "assign-tasks": ASSIGN_TASKS,
    "complete-steps": COMPLETE_STEPS,
    "fail-steps": FAIL_STEPS,
    "expire-deadlines": EXPIRE_DEADLINES,
}
