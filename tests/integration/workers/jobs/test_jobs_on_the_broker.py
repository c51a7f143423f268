"""Replays over HTTP on a real broker: to a topic, a file and a handler, told by any worker, and through a kill."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from grouped import AGAIN, Group, GroupWorker, group
from replays import copied, registered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS = 3
SLOWLY = 4
NOT_PERMITTED = (
    {"topic": "commands.person"},
    {"topic": "replays."},
    {"topic": "replays.x/../y"},
    {"file": "../outside"},
    {"file": "/etc/passwd"},
    {"file": ".hidden"},
    {"handler": "os:system"},
    {"handler": "once", "topic": "replays.x"},
    {"url": "http://127.0.0.1/"},
    {},
)


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


class Api:
    """The API of one worker."""

    def __init__(self, worker: GroupWorker) -> None:
        (started,) = worker.logged("worker started")
        self.worker, self.url = worker, started["api"]

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        """Status, headers and body; what is only read is asked for again where it may be."""

        def answered() -> tuple[int, Any, Any] | None:
            found = self._ask(method, path, body)
            return None if method == "GET" and found[0] in AGAIN else found

        found: tuple[int, Any, Any] = self.worker.until(answered, f"{path} is answered")
        return found

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, Any, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, answer.headers, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read())

    def begun(self, **body: Any) -> str:
        """Begin a replay of all persons; its path."""
        status, headers, replay = self("POST", "/v1/replays", {"kinds": ["person"], **body})
        assert (status, replay["status"], replay["events"]) == (202, "running", 0), replay
        assert headers["location"] == f"/v1/replays/{replay['id']}"
        return str(headers["location"])

    def ended(self, path: str) -> Any:
        def found() -> Any:
            status, _, replay = self("GET", path)
            return replay if status == 200 and replay["status"] != "running" else None

        return self.worker.until(found, f"{path} has ended")


def test_replays_are_asked_for_told_cancelled_and_gone_on_with(
    crew: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", registered(tmp_path))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    folder = tmp_path / "replays"

    options = {"API_PORT": "0", "REPLAY_DIR": str(folder)}
    one_worker = crew.worker("one", {}, ROLES="write,read", **options).until_ready()
    two_worker = crew.worker("two", {}, ROLES="write,read", **options).until_ready()
    one, two = Api(one_worker), Api(two_worker)
    answers = crew.answers(16)
    assert set(answers) == {"accepted"}
    count = len(answers)

    for target in NOT_PERMITTED:
        status, _, problem = one("POST", "/v1/replays", {"target": target})
        assert (status, problem["code"]) == (403, "target_not_permitted"), target
    for wrong in ({}, {"target": {"topic": "replays.x"}, "kinds": ["cat"]}, {"dry_run": True, "rate": 0}, [1]):
        status, _, problem = one("POST", "/v1/replays", wrong)
        assert (status, problem["code"]) == (400, "invalid_request"), wrong

    replay = two.ended(one.begun(dry_run=True))
    assert (replay["status"], replay["events"], replay["total"], replay["failures"]) == ("done", count, count, 0)
    assert one.ended(two.begun(target={"topic": "replays.copy"}))["events"] == count
    records = copied(crew.settings.bootstrap_servers, f"{crew.settings.topic_prefix}replays.copy", count)
    assert len({dict(record.headers)["ce_id"] for record in records}) == count
    replay = one.ended(one.begun(target={"handler": "once"}))
    assert (replay["status"], replay["events"], replay["failures"]) == ("done", count, count)
    assert len((tmp_path / "seen").read_text().splitlines()) == count
    failed = two.ended(one.begun(target={"handler": "never"}, retries=0))
    assert (failed["status"], failed["events"]) == ("failed", 0)
    assert "the handler failed" in failed["error"]

    # Cancelled at another worker than the one that runs it.
    path = two.begun(target={"topic": "replays.copy"}, rate=1)
    status, _, replay = one("DELETE", path)
    assert (status, replay["status"]) == (202, "cancelled")
    assert two.ended(path)["events"] < count

    # To a file, until some of it is recorded; then its reading process is killed, and another one goes on.
    path = two.begun(target={"file": "lines"}, rate=SLOWLY)
    two.worker.until(lambda: one("GET", path)[2]["events"] > 0, "progress is told by another worker")
    listed = one("GET", "/v1/replays?limit=2")[2]
    assert listed["replays"][0]["id"] == path.rpartition("/")[2]
    assert one("GET", listed["next"])[0] == 200
    two_worker.kill_reader()
    replay = one.ended(path)
    assert (replay["status"], replay["events"]) == ("done", count), replay
    lines = [json.loads(line)["cid"] for line in (folder / "lines").read_text().splitlines()]
    assert len(lines) == len(set(lines)) == count
    assert [each.name for each in folder.iterdir()] == ["lines"]
    assert one("GET", path.replace("replays", "jobs"))[2]["kind"] == "replay"
    assert one("GET", "/v1/replays/none")[0] == 404
    assert one_worker.end() == 0
