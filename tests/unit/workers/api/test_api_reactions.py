"""The routes of reactions, over an administration in memory."""

import pytest

from annals.agents.publishing.administration import Refused
from annals.workers.api.routes.reactions import ReactionRoutes
from annals.workers.reacting.service import Answered
from api_serving import Audit, serving


class Administration:
    """One reaction."""

    def __init__(self) -> None:
        self.status, self.offset = "paused", 0

    async def all(self):
        return [self._answered()]

    async def get(self, name):
        if name != "assign-tasks":
            raise Refused(404, "not_found", f"there is no reaction {name!r}")
        return self._answered()

    async def pause(self, name):
        return await self._set(name, "paused")

    async def resume(self, name):
        return await self._set(name, "active")

    async def _set(self, name, status):
        await self.get(name)
        self.status, self.offset = status, self.offset + 1
        return self._answered()

    def _answered(self):
        return Answered({"name": "assign-tasks", "status": self.status}, str(self.offset))


@pytest.fixture
async def api():
    audit = Audit()
    async with serving(ReactionRoutes(Administration()).routes(), audit=audit) as api:
        yield api


async def test_reactions_are_listed_paused_and_resumed(api):
    assert (await api("GET", "/v1/reactions"))[2]["reactions"] == [{"name": "assign-tasks", "status": "paused"}]
    status, headers, found = await api("POST", "/v1/reactions/assign-tasks/resume")
    assert (status, headers["etag"], found["status"]) == (200, '"1"', "active")
    assert (await api("POST", "/v1/reactions/assign-tasks/pause"))[2]["status"] == "paused"
    assert (await api("GET", "/v1/reactions/assign-tasks"))[2]["status"] == "paused"
    answered = await api("GET", "/v1/reactions/assign-tasks", headers={"if-none-match": "*"})
    assert (answered[0], answered[1]["cache-control"]) == (200, "no-store")
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        status, _, problem = await api(method, f"/v1/reactions/nothing{path}")
        assert (status, problem["code"]) == (404, "not_found")
