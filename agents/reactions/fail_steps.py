"""fail-steps: a task that failed for a step fails the step's attempt."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from annals.agents.reactions.reaction import Nothing, Occurred, Reacted, Reaction
from annals.schemas.commands import command
from annals.schemas.kinds.agent import TaskFailed
from annals.schemas.kinds.workflow import FailStep


def react(state: Nothing, event: Occurred) -> Reacted[Nothing]:
    """Fail the step of the task, with its attempt; a task for no step says nothing to any workflow."""
    del state
    message = event.message
    if not isinstance(message, TaskFailed) or message.workflow_id is UNSET or message.step_id is UNSET:
        return Reacted(None)
    failed = FailStep(
        step_id=message.step_id,
        error=message.error,
        attempt=message.attempt,
        retryable=True if message.retryable is UNSET else message.retryable,
    )
    return Reacted(None, [command("workflow", message.workflow_id, failed)])


FAIL_STEPS: Final = Reaction(
    name="fail-steps",
    version=1,
    kind="agent",
    wanted=frozenset({TaskFailed}),
    state=Nothing,
    react=react,
)
