"""Subscriptions administered at two workers at once, and followed at one after the other was killed: one truth."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from grouped import AGAIN, SOON_MISSED, Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.untraced]

PARTITIONS = 2
PATH = "/v1/subscriptions/billing"
TOKENS = {"root": "admin", "billing": "acks:billing", "audit": "acks:audit", "reader": "read", "writer": "write"}


class Answer(NamedTuple):
    status: int
    body: Any
    etag: str | None


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        tokens = tmp_path / "tokens"
        lines = [f"{hashlib.sha256(name.encode()).hexdigest()} {name} {scopes}" for name, scopes in TOKENS.items()]
        tokens.write_text("\n".join(lines))
        tokens.chmod(0o600)
        (tmp_path / "peers").write_text("k" * 64)
        (tmp_path / "peers").chmod(0o600)
        yield made


def worker_of(crew: Group, name: str) -> GroupWorker:
    folder = crew.folder
    return crew.worker(
        name,
        SOON_MISSED,
        ROLES="write,read",
        API_PORT="0",
        API_TOKENS_FILE=str(folder / "tokens"),
        API_PEER_KEY_FILE=str(folder / "peers"),
    ).until_ready()


def ask(
    worker: GroupWorker,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str = "root",
    if_match: str | None = None,
) -> Answer:
    url = worker.logged("worker started")[0]["api"] + path
    headers = {"authorization": f"Bearer {token}"}
    if body is not None:
        headers["content-type"] = "application/json"
    if if_match is not None:
        headers["if-match"] = if_match
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return Answer(answer.status, json.loads(answer.read() or b"null"), answer.headers["etag"])
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, json.loads(error.read()), None)


def asked(worker: GroupWorker, *what: Any, **how: Any) -> Answer:
    """The same, asked again as long as that is the answer."""

    def answered() -> Answer | None:
        answer = ask(worker, *what, **how)
        return None if answer.status in AGAIN else answer

    found: Answer = worker.until(answered, f"{what} is answered")
    return found


def both(
    one: GroupWorker, two: GroupWorker, method: str, body: Any = None, path: str = PATH, **how: Any
) -> Counter[Any]:
    """What is answered to requests at both workers at once, four at each."""
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, worker, method, path, body, **how) for worker in (one, two) * 4]
        answers = [each.result() for each in asking]
    return Counter((each.status, (each.body or {}).get("code")) for each in answers)


def same(one: GroupWorker, two: GroupWorker, **members: Any) -> Answer:
    """The subscription, once both workers answer the same of it."""

    def agreed() -> Answer | None:
        first, second = asked(one, "GET", PATH), asked(two, "GET", PATH)
        is_so = first.etag == second.etag and first.status == second.status == 200
        return first if is_so and members.items() <= first.body.items() else None

    found: Answer = one.until(agreed, f"both say {members}")
    return found


def test_two_workers_make_each_change_once_and_in_the_order_of_the_checks(crew: Group) -> None:
    one, two = worker_of(crew, "one"), worker_of(crew, "two")
    definition = {"kinds": ["person"], "delivery": "acknowledged", "start": "beginning"}
    made = both(one, two, "PUT", definition)
    assert made[201, None] == 1, made
    assert set(made) <= {(201, None), (412, "etag_missing"), (503, "not_ready")}
    first = same(one, two, status="active")
    changed = both(one, two, "PUT", {**definition, "owner": "ada"}, if_match=first.etag)
    assert changed[200, None] == 1, changed
    assert set(changed) <= {(200, None), (412, "etag_differs"), (503, "not_ready")}
    second = same(one, two, owner="ada")

    # 422 goes before 412, and 412 before 409.
    wrong, late = {**definition, "max_in_flight": 0}, {**definition, "start": "now"}
    for worker in (one, two):
        assert asked(worker, "PUT", PATH, wrong, if_match=first.etag).status == 422
        assert asked(worker, "PUT", PATH, late, if_match=first.etag).body["code"] == "etag_differs"
        assert asked(worker, "PUT", PATH, late).body["code"] == "etag_missing"
        assert asked(worker, "PUT", PATH, late, if_match=second.etag).body["code"] == "start_is_past"
        assert asked(worker, "PUT", PATH, {**definition, "delivery": "stream"}, if_match=second.etag).status == 409
        assert asked(worker, "PUT", f"{PATH}-2", definition, if_match=first.etag).status == 412
        assert asked(worker, "DELETE", PATH, if_match=first.etag).status == 412
    assert same(one, two).etag == second.etag, "what was refused changed nothing"

    done = both(one, two, "POST", path=f"{PATH}/pause") + both(one, two, "POST", path=f"{PATH}/resume")
    assert set(done) <= {(200, None), (503, "not_ready")}
    assert done[200, None] >= 4, done
    third = same(one, two, status="active")
    removed = both(one, two, "DELETE", if_match=third.etag)
    assert removed[204, None] == 1, removed
    assert set(removed) <= {(204, None), (404, "not_found"), (503, "not_ready")}
    one.until(lambda: {asked(worker, "GET", PATH).status for worker in (one, two)} == {404}, "both say that it is gone")
    assert asked(two, "PUT", PATH, definition).body["code"] == "start_is_past"
    again = asked(one, "PUT", PATH, {name: definition[name] for name in ("kinds", "delivery")})
    assert (again.status, again.body["start"]) == (201, "beginning")
    same(one, two, status="active")

    # Who may answer: the subscription's own token, and nothing but that.
    assert set(crew.answers(4)) == {"accepted"}
    (event, *_) = one.until(lambda: asked(one, "GET", "/v1/events?kind=person").body["events"], "events are read")
    body = {"cid": event["cid"], "attempt": 1, "verdict": "ack"}
    for worker in (one, two):
        assert asked(worker, "POST", f"{PATH}/acks", body, token="billing").status == 202
        for token in ("audit", "reader", "writer"):
            assert asked(worker, "POST", f"{PATH}/acks", body, token=token).status == 403
        assert asked(worker, "POST", f"{PATH}/acks", body, token="nobody").status == 401
        for method, path in (
            ("GET", PATH),
            ("DELETE", PATH),
            ("POST", f"{PATH}/pause"),
            ("POST", f"{PATH}/parked/replay"),
            ("POST", "/v1/subscriptions/audit/acks"),
        ):
            assert asked(worker, method, path, {} if method == "POST" else None, token="billing").status == 403
    one.until(lambda: asked(two, "GET", PATH).body["deliveries"]["unsettled"] == 3, "one of four is settled, once")

    # One is killed: the other says what it said, and takes changes.
    fourth = same(one, two)
    one.kill()
    assert asked(two, "GET", PATH).etag == fourth.etag
    paused = asked(two, "POST", f"{PATH}/pause")
    assert (paused.status, paused.body["status"]) == (200, "paused")
    one = worker_of(crew, "one")
    assert asked(one, "GET", PATH).etag == paused.etag
    assert one.end() == two.end() == 0


class Following:
    """Follows `/v1/events` in a thread of its own, from behind what another one has read."""

    def __init__(self, worker: GroupWorker, last: str | None = None) -> None:
        self.last = last
        self.cids: list[str] = []
        self._address = urlsplit(worker.logged("worker started")[0]["api"]).netloc
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run)
        self._connection = http.client.HTTPConnection(self._address, timeout=30)
        self._thread.start()

    def _run(self) -> None:
        headers = {"authorization": "Bearer root"} | ({"last-event-id": self.last} if self.last else {})
        with closing(self._connection), suppress(OSError, http.client.HTTPException):  # its worker is killed, or `end`
            self._connection.request("GET", "/v1/events?kind=person&follow=1", headers=headers)
            stream, named, data = self._connection.getresponse(), None, None
            self._socket = self._connection.sock
            assert stream.status == 200, stream.read()
            while line := stream.readline():
                name, _, value = line.decode().strip().partition(": ")
                if name == "id":
                    named = value
                elif name == "data":
                    data = json.loads(value)["cid"]
                elif not line.strip() and named:
                    if data is not None:
                        self.cids.append(data)
                    self.last, named, data = named, None, None

    def end(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)


def test_what_was_followed_at_one_goes_on_at_the_other_without_gap_or_double(crew: Group) -> None:
    one, two = worker_of(crew, "one"), worker_of(crew, "two")
    assert set(crew.answers(20)) == {"accepted"}
    first = Following(two)
    two.until(lambda: len(first.cids) >= 20, "all so far")
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(crew.answers, 40)
        two.until(lambda: len(first.cids) >= 25, "some more")
        two.kill()
        first.end()
        assert set(answers.result()) == {"accepted"}
    second = Following(one, first.last)
    one.until(lambda: len(first.cids) + len(second.cids) >= 60, "the rest")
    two = worker_of(crew, "two")
    assert set(crew.answers(10)) == {"accepted"}
    one.until(lambda: len(first.cids) + len(second.cids) >= 70, "what came when there were two again")
    second.end()
    page = one.until(lambda: whole(one, 70), "all are read")
    followed = first.cids + second.cids
    assert Counter(followed) == Counter(page)
    assert one.end() == two.end() == 0


def whole(worker: GroupWorker, count: int) -> list[str]:
    body = asked(worker, "GET", "/v1/events?kind=person&limit=1000").body
    cids = [each["cid"] for each in body["events"]]
    return cids if len(cids) == count and not body["missing"] else []
