"""complete-steps: a task that was done for a step completes the step."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from annals.agents.reactions.reaction import Nothing, Occurred, Reacted, Reaction
from annals.schemas.canonical import encode
from annals.schemas.commands import command
from annals.schemas.kinds.agent import TaskCompleted
from annals.schemas.kinds.workflow import CompleteStep

OUTPUT_BYTES: Final = 4 * 1024  # a step takes less than a task, whose event has the whole


def react(state: Nothing, event: Occurred) -> Reacted[Nothing]:
    """Complete the step of the task, with its attempt; a task for no step says nothing to any workflow."""
    del state
    message = event.message
    if not isinstance(message, TaskCompleted) or message.workflow_id is UNSET or message.step_id is UNSET:
        return Reacted(None)
    done = CompleteStep(
        step_id=message.step_id,
        attempt=message.attempt,
        output=message.result if len(encode(message.result)) <= OUTPUT_BYTES else UNSET,
        confidence=message.confidence,
    )
    return Reacted(None, [command("workflow", message.workflow_id, done)])


COMPLETE_STEPS: Final = Reaction(
    name="complete-steps",
    version=1,
    kind="agent",
    wanted=frozenset({TaskCompleted}),
    state=Nothing,
    react=react,
)
