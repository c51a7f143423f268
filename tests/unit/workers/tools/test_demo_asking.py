"""What the demo asks of a worker that reads: each answer that is not as it should be ends the story by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from annals.workers.client.api_client import ApiClient, ApiError
from annals.workers.tools.demo.asking import asked, found
from annals.workers.tools.demo.reacting import ASSIGN_TASKS, Reactions
from annals.workers.tools.demo.reading import read
from annals.workers.tools.demo.show import Show
from annals.workers.tools.demo.teller import DifferedError

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = "bafyhead"
VERSIONS = {"person/p-1": (4, "bafyada"), "workflow/research-1": (7, HEAD)}
ROW = {"kind": "person", "aggregate_id": "p-1", "name": "Ada Lovelace", "status": "active"}


class Answers(ApiClient):
    """Answers by how the path begins; `asked`: methods and paths."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        self.asked.append(f"{method} {path}")
        answer = next(answer for begin, answer in self.answers.items() if self.asked[-1].startswith(begin))
        if isinstance(answer, ApiError):
            raise answer
        return answer


def state(version: int, status: str, head: str = HEAD) -> dict[str, Any]:
    return {
        "kind": "workflow",
        "aggregate_id": "research-1",
        "version": version,
        "head": head,
        "status": status,
        "state": {},
    }


def read_from(**otherwise: Any) -> dict[str, Any]:
    answers = {
        "people": {"rows": [ROW], "missing": [], "stale": []},
        "now": state(7, "completed"),
        "then": state(2, "running"),
    } | otherwise
    paths = {
        "GET /v1/questions/people?email=ada@institute.example&expect=person/p-1@4&": answers["people"],
        "GET /v1/aggregates/workflow/research-1?expect_at_least=7&": answers["now"],
        "GET /v1/aggregates/workflow/research-1?version=2": answers["then"],
    }
    return asyncio.run(read(Answers(paths), Show(), VERSIONS, "research-1"))


def test_answers_that_agree_with_the_outcomes_are_kept() -> None:
    assert read_from() == {
        "people": [ROW],
        "state": {name: value for name, value in state(7, "completed").items() if name != "state"},
        "as_it_was": {name: value for name, value in state(2, "running").items() if name != "state"},
    }


@pytest.mark.parametrize(
    ("otherwise", "named"),
    [
        ({"people": {"rows": [], "missing": [], "stale": []}}, "p-1 alone has the address"),
        ({"people": {"rows": [ROW, ROW | {"aggregate_id": "p-2"}], "missing": [], "stale": []}}, "p-1 alone"),
        ({"people": {"rows": [ROW], "missing": [{"partition": 1}], "stale": []}}, "p-1 alone"),
        ({"people": {"rows": [ROW], "missing": [], "stale": [{"partition": 1}]}}, "p-1 alone"),
        ({"now": state(7, "running")}, "should be completed at version 7"),
        ({"now": state(7, "completed", "bafyother")}, "with the head bafyother, its outcome told of bafyhead"),
        ({"then": state(7, "completed")}, "should be running at version 2"),
        ({"now": ApiError("504: in time it did not come", 504)}, "504: in time it did not come"),
    ],
)
def test_an_answer_that_says_something_else_differs(otherwise: dict[str, Any], named: str) -> None:
    with pytest.raises(DifferedError, match=named):
        read_from(**otherwise)


def test_what_is_not_there_is_none_and_another_problem_differs() -> None:
    api = Answers({"GET /none": ApiError("404: none", 404), "GET /down": ApiError("503: later", 503)})
    assert asyncio.run(found(api, "/none")) is None
    for asking in (found(api, "/down"), asked(api, "GET", "/none")):
        with pytest.raises(DifferedError, match=r"was not answered as it should be: (503|404)"):
            asyncio.run(asking)


def resumed(before: str, after: str, *, is_first: bool) -> tuple[bool, list[str]]:
    path = "/v1/reactions/assign-tasks"
    api = Answers({f"GET {path}": {"status": before}, f"POST {path}/resume": {"status": after}})
    return asyncio.run(Reactions(api, is_first=is_first).resume(ASSIGN_TASKS)), api.asked


def test_a_reaction_is_resumed_where_it_does_not_run_yet() -> None:
    assert resumed("paused", "active", is_first=True)[0]
    assert resumed("active", "active", is_first=False) == (False, ["GET /v1/reactions/assign-tasks"])


def test_a_reaction_that_runs_before_it_is_resumed_or_not_after_it_differs() -> None:
    with pytest.raises(DifferedError, match="assign-tasks should be paused until it is resumed"):
        resumed("active", "active", is_first=True)
    with pytest.raises(DifferedError, match="was resumed, and does not run"):
        resumed("paused", "paused", is_first=True)
