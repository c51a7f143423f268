"""Three workers of all roles whose parents and children are killed, who sends to them, and what each answers."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

from annals.schemas.commands import command
from annals.workers.client import CommandClient
from processes import WITHIN_S, answer_of, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos_readings import Journals

    from annals.schemas.messages import Message
    from annals.schemas.outcome import Outcome
    from grouped import Group, GroupWorker

NAMES = ("w0", "w1", "w2")
PORTS: dict[str, str] = {}


def origin(number: int, at: int) -> dict[str, str | None]:
    """Where the command at a place of a story comes from."""
    causation_id = None if at == 0 else f"c-{number}-{at // 2}"
    return {"correlation_id": f"s-{number}", "causation_id": causation_id, "actor": f"clerk {at % 5}/é"}


class Sender:
    """Sends stories in a thread; `told` counts the outcomes by status, `outcomes` has them in their order."""

    def __init__(self, crew: Group, stories: int, story: Callable[[int], list[tuple[str, str, Message]]]) -> None:
        self._crew = crew
        self._stories = stories
        self._story = story
        self.outcomes: list[Outcome] = []
        self._lock = threading.Lock()
        self.told: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def until_done(self) -> None:
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def _run(self) -> None:
        try:
            asyncio.run(self._send())
        except BaseException as error:  # noqa: BLE001 - told by `until_done`
            self.error = error

    async def _send(self) -> None:
        async with CommandClient(self._crew.settings, timeout_s=WITHIN_S) as client:
            for number in range(self._stories):
                asks = [
                    command(kind, name, message).with_id(f"c-{number}-{at}")
                    for at, (kind, name, message) in enumerate(self._story(number))
                ]
                sent = [
                    client.send(each.kind, {**each.envelope(), **origin(number, at)}) for at, each in enumerate(asks)
                ]
                for outcome in await asyncio.gather(*sent):
                    with self._lock:
                        self.told[outcome.status] += 1
                        self.outcomes.append(outcome)


class Api:
    """The API of one worker."""

    def __init__(self, worker: GroupWorker) -> None:
        self._worker = worker
        self._url = worker.logged("worker started")[0]["api"]

    def __call__(self, path: str, method: str = "GET") -> tuple[int, Any]:
        status, body = answer_of(urllib.request.Request(self._url + path, method=method), timeout_s=90)
        return status, json.loads(body) if status else None

    def get(self, path: str) -> Any:
        status, body = self(path)
        assert status == 200, (path, body)
        return body

    def pages(self, path: str, member: str) -> list[Any]:
        """All pages of a list, each of which rests on all partitions."""
        found: list[Any] = []
        following: str | None = path
        while following is not None:
            body = self.get(following)
            assert (body.get("missing", []), body.get("stale", [])) == ([], []), (path, body["missing"], body["stale"])
            found += body[member]
            following = body["next"]
        return found


def start(crew: Group, name: str, patches: dict[str, Any] | None = None) -> GroupWorker:
    """A worker of all roles; under the same instance id a new one takes the place of a killed one at once.

    The group is not told of anything new of a static member: its API stays at one port.
    """
    port = PORTS.setdefault(name, str(free_port()))
    return crew.worker(name, patches or {}, ROLES="write,read", API_PORT=port, INSTANCE_ID=name)


def has_read_all(api: Api, journals: Journals) -> bool:
    """Whether what this worker gathers rests on the ends of all journals."""
    status, body = api("/v1/projections")
    if status != 200:
        return False
    return all(
        not each["missing"] and not each["stale"] and None not in offsets and has_all(offsets, journals.ends[kind])
        for each in body["projections"]
        for kind, offsets in each["positions"].items()
    )


def has_all(offsets: list[int], ends: list[int]) -> bool:
    return all(offset >= end for offset, end in zip(offsets, ends, strict=True))
