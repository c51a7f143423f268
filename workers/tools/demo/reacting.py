"""Reactions of the project in the story: resumed, and what they lead to found in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.workers.tools.demo.asking import WAIT_S, asked
from annals.workers.tools.demo.teller import expect

if TYPE_CHECKING:
    from annals.workers.client.api_client import ApiClient

PAUSED: Final = "paused"
ACTIVE: Final = "active"


class Reaction(NamedTuple):
    """What the story expects of a reaction: the events that it reacts to, and what it sends to which kind."""

    name: str
    reacts_to: str
    sends: str
    kind: str


ASSIGN_TASKS: Final = Reaction("assign-tasks", "StepStarted", "AssignTask", "agent")
COMPLETE_STEPS: Final = Reaction("complete-steps", "TaskCompleted", "CompleteStep", "workflow")


class Reactions:
    """The reactions of the worker that reads, by its API."""

    def __init__(self, api: ApiClient, *, is_first: bool) -> None:
        """Take the API. is_first: nothing was told in this journal before."""
        self._api = api
        self._is_first = is_first

    async def resume(self, reaction: Reaction) -> bool:
        """Have it react from now on, as `annals reactions resume` does; return False if it does already.

        Raises:
            DifferedError: it ran before anybody had resumed it, or does not run now.
        """
        path = f"/v1/reactions/{reaction.name}"
        before = await asked(self._api, "GET", path)
        expect(
            not self._is_first or before["status"] == PAUSED,
            f"{reaction.name} should be paused until it is resumed: {before}",
        )
        if before["status"] == ACTIVE:
            return False
        after = await asked(self._api, "POST", f"{path}/resume")
        expect(after["status"] == ACTIVE, f"{reaction.name} was resumed, and does not run: {after}")
        return True

    async def until(self, kind: str, aggregate_id: str, version: int) -> dict[str, Any]:
        """Return the event with which an aggregate has come to a version, once it is there.

        Raises:
            DifferedError: it does not come.
        """
        path = f"/v1/aggregates/{kind}/{aggregate_id}"
        await asked(self._api, "GET", f"{path}?expect_at_least={version}&wait={WAIT_S}")
        page = await asked(self._api, "GET", f"{path}/events?from={version}&to={version}")
        event: dict[str, Any] = page["events"][0]
        return event
