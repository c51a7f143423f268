"""What people ask of a worker that reads: who has an e-mail address, and what an aggregate is, and was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.workers.tools.demo.asking import WAIT_S, asked
from annals.workers.tools.demo.story import ADA, ADA_EMAIL
from annals.workers.tools.demo.teller import expect, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.workers.client.api_client import ApiClient
    from annals.workers.tools.demo.show import Show

STARTED: Final = 2  # the version at which a workflow of the story has started, and nothing of it is done


async def read(api: ApiClient, show: Show, versions: Mapping[str, tuple[int, str]], workflow_id: str) -> dict[str, Any]:
    """Ask, and hold the answers to the versions and heads that outcomes told of; return them as JSON types.

    Raises:
        DifferedError: an answer says something else.
    """
    people = await _who_has(api, versions[f"person/{ADA}"][0])
    show.line("ok", ("GET /v1/questions/people", ""), (f"?email={ADA_EMAIL}", "dim"))
    show.say((f"      {people['aggregate_id']}, {people['name']}, {people['status']}", "green"))
    version, head = versions[f"workflow/{workflow_id}"]
    now = await _state(api, workflow_id, f"expect_at_least={version}&wait={WAIT_S}", version, "completed")
    expect(now["head"] == head, f"{workflow_id} was answered with the head {now['head']}, its outcome told of {head}")
    show.line("ok", (f"GET /v1/aggregates/workflow/{workflow_id}", ""), (f"?expect_at_least={version}", "dim"))
    show.say((f"      completed at version {version}", "green"), (f", {short(head)}: the head of its outcome", "dim"))
    then = await _state(api, workflow_id, f"version={STARTED}", STARTED, "running")
    show.line("ok", (f"GET /v1/aggregates/workflow/{workflow_id}", ""), (f"?version={STARTED}", "dim"))
    show.say((f"      running at version {STARTED}", "green"), (": as it was", "dim"))
    return {"people": [people], "state": _found(now), "as_it_was": _found(then)}


async def _who_has(api: ApiClient, version: int) -> dict[str, Any]:
    """Return the one person with Ada's address, not before her newest event is folded."""
    question = f"email={ADA_EMAIL}&expect=person/{ADA}@{version}&wait={WAIT_S}"
    answer = await asked(api, "GET", f"/v1/questions/people?{question}")
    rows: list[dict[str, Any]] = answer["rows"]
    expect(
        [row["aggregate_id"] for row in rows] == [ADA] and not answer["missing"] and not answer["stale"],
        f"{ADA} alone has the address {ADA_EMAIL}, the answer is {answer}",
    )
    return rows[0]


async def _state(api: ApiClient, workflow_id: str, when: str, version: int, status: str) -> dict[str, Any]:
    found: dict[str, Any] = await asked(api, "GET", f"/v1/aggregates/workflow/{workflow_id}?{when}")
    expect(
        (found["version"], found["status"]) == (version, status),
        f"{workflow_id} should be {status} at version {version}: {found}",
    )
    return found


def _found(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in ("kind", "aggregate_id", "version", "head", "status")}
