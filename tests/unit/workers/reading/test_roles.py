"""One address for the roles of a worker: reasons with their role, metrics once, and settings that say which roles."""

import math
import re
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import ClientSession

from annals.workers.exposition import Family, as_text, families_of
from annals.workers.reading.telemetry import ReadingMetrics, ReadingShardMetrics
from annals.workers.settings import READ, Settings, SettingsError, load_settings, warnings
from annals.workers.telemetry import Metrics
from annals.workers.web.server import WebServer


class Child:
    """Another process with the role `read`."""

    name = READ

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.metrics = ReadingMetrics()

    async def answer(self) -> tuple[list[str], Sequence[Family]]:
        return self.reasons, families_of(self.metrics.registry, READ)


class Worker:
    """A web server in front of both roles."""

    def __init__(self) -> None:
        self.child = Child()
        self.reasons: list[str] = []
        self.server = WebServer("127.0.0.1", 0, Metrics(), lambda: self.reasons, beside=self.child)
        self.port = 0

    async def get(self, path: str) -> tuple[int, str]:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker()
    made.port = await made.server.start()
    yield made
    await made.server.stop()


async def test_a_reason_begins_with_its_role_and_each_role_can_be_asked_alone(worker: Worker) -> None:
    assert await worker.get("/health/ready") == (200, '{"status": "ready", "reasons": []}')
    worker.child.reasons = ["person-0 is stopped: a gap"]
    status, body = await worker.get("/health/ready")
    assert (status, "read: person-0 is stopped: a gap" in body) == (503, True)
    assert (await worker.get("/health/ready?role=write"))[0] == 200
    assert (await worker.get("/health/ready?role=read"))[0] == 503
    worker.child.reasons, worker.reasons = [], ["person-0 is opening: folding"]
    status, body = await worker.get("/health/ready?role=write")
    assert (status, "write: person-0 is opening: folding" in body) == (503, True)
    assert (await worker.get("/health/ready?role=read"))[0] == 200
    assert (await worker.get("/health/ready?role=publish"))[0] == 400


async def test_metrics_of_both_roles_are_in_one_text_each_family_once(worker: Worker) -> None:
    worker.child.reasons = ["behind"]
    ReadingShardMetrics(worker.child.metrics, "person").damaged()
    _, text = await worker.get("/metrics")
    types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(types) == len(set(types))
    assert "annals_ready 0.0\n" in text
    assert 'annals_reading_stores_damaged_total{kind="person",role="read"} 1.0\n' in text
    assert 'annals_reading_chain_breaks_total{kind="person",role="read"} 0.0\n' in text
    assert len(re.findall(r"^process_start_time_seconds(?:{role=\"read\"})? ", text, re.MULTILINE)) == 2
    worker.child.reasons = []
    assert "annals_ready 1.0\n" in (await worker.get("/metrics"))[1]


def test_values_that_json_does_not_have_are_exposed() -> None:
    family = Family("annals_x", "x", "gauge", [("annals_x", {}, math.inf)])
    assert b"annals_x +Inf\n" in as_text([family])


async def test_a_worker_that_only_reads_says_so() -> None:
    server = WebServer("127.0.0.1", 0, ReadingMetrics(), list, role=READ)
    worker = Worker()
    worker.port = await server.start()
    try:
        assert (await worker.get("/health/ready"))[0] == 200
        status, body = await worker.get("/health/ready?role=write")
        assert (status, "ANNALS_ROLES" in body) == (503, True)
        assert 'annals_ready{role="read"} 1.0\n' in (await worker.get("/metrics"))[1]
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("given", "roles"),
    [("read", "read"), ("write", "write"), ("read, Write", "write,read"), ("", None), ("both", None)],
)
def test_roles_are_write_and_read(given: str, roles: str | None) -> None:
    if roles is not None:
        settings = load_settings({"roles": given}, {})
        assert (settings.roles, settings.has("read")) == (roles, "read" in roles)
        return
    with pytest.raises(SettingsError, match=r"^ANNALS_ROLES: .* one or more of write, read"):
        load_settings({"roles": given}, {})


@pytest.mark.parametrize("name", ["", "A", "a" * 65, "a_b", "ä"])
def test_a_deployments_name_is_short_and_plain(name: str) -> None:
    if not name:
        assert load_settings({"deployment": name}, {}).deployment is None
        return
    with pytest.raises(SettingsError, match=r"^ANNALS_DEPLOYMENT: .* 1 to 64 of a-z, 0-9 and '-'"):
        load_settings({"deployment": name}, {})


def test_a_service_beside_us_in_kubernetes_is_no_port() -> None:
    assert load_settings({}, {"ANNALS_API_PORT": "tcp://10.0.0.7:80"}).api_port == 6067
    assert load_settings({}, {"ANNALS_API_PORT": "7000"}).api_port == 7000


def test_an_address_that_nobody_reaches_is_warned_of() -> None:
    (warning,) = warnings(Settings(api_host="0.0.0.0"))
    assert "ANNALS_API_ADVERTISED_URL" in warning
    assert warnings(Settings(api_host="0.0.0.0", api_advertised_url="http://here:6067")) == []
    assert warnings(Settings(api_host="0.0.0.0", roles="write")) == []
