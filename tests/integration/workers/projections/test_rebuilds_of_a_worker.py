"""A worker that rebuilds rows, asked without a pause: whole answers, none of them stale."""

from __future__ import annotations

import asyncio
import json
import subprocess
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self

import pytest

from annals.workers.client import CommandClient
from grouped import Group, GroupWorker, group
from processes import ENTRY_POINT, WITHIN_S, annals, own_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PEOPLE = 150
# A worker whose child, which reads, runs other lines first.
CHILD = """
import annals.workers.reader_process as parent
then = "from annals.workers.reader_child import main; import sys; main(sys.argv[1:])"
parent.PROGRAM = ("-P", "-c", {lines!r} + then)
"""
# The reader's fold, a few events at a time. And a fold that was mended: it makes other rows of the same events, in the
# same version, and waits in the midst of a rebuild as long as there is a file: that is looked at, however fast it is.
SLOW = """
import annals.agents.reading.following.fold as fold
fold.CATCH_UP_EVENTS = 2
"""
MENDED = (
    SLOW
    + """
import os
step = fold.ReadingFold._catch_up
def held(self, most):
    behind = self.behind()
    is_held = behind is not None and behind.offset > 0 and os.path.exists({hold!r})
    return is_held or step(self, most)
fold.ReadingFold._catch_up = held
import dataclasses
import msgspec
import annals.agents.projections as projections
def mended(of):
    def folded(event, rows):
        of.fold(event, rows)
        row = rows.get(event.aggregate_id)
        if row is not None and row.name.islower():
            rows.put(msgspec.structs.replace(row, name=row.name.upper()), event.aggregate_id)
    return dataclasses.replace(of, fold=folded)
for name in ("people_directory", "locations"):
    projections.REGISTRY[name] = mended(projections.REGISTRY[name])
"""
)
WANTED = {"people_directory": "person", "locations": "location"}


def patched(lines: str) -> dict[str, str]:
    return {"exec": CHILD.format(lines=lines)}


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


async def written(crew: Group) -> None:
    async with CommandClient(crew.settings, timeout_s=90) as client:
        sent = []
        for number in range(PEOPLE):
            person = {"type": "RegisterPerson", "aggregate_id": f"p-{number}", "data": {"name": "ada"}}
            data = {"name": "lab", "location_type": "logical"}
            place = {"type": "DefineLocation", "aggregate_id": f"l-{number}", "data": data}
            sent += [client.send("person", person), client.send("location", place)]
        outcomes = await asyncio.gather(*sent)
        assert {each.status for each in outcomes} == {"accepted"}


class Asking(Thread):
    """Asks for all rows of a projection, and how far it is rebuilt, again and again.

    The rebuild is held by a file until rows were asked for in its midst.
    """

    def __init__(self, worker: GroupWorker, name: str, hold: Path) -> None:
        super().__init__()
        self.worker, self.projection, self.hold = worker, name, hold
        self.stopped = Event()
        self.answers: list[tuple[int, set[str], list[Any]]] = []
        self.progress: list[dict[str, Any]] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            status, found = self.worker.call("GET", f"/v1/projections/{self.projection}/rows?limit=1000")
            if status == 200 and not found["missing"]:
                self.answers.append((len(found["rows"]), {row["name"] for row in found["rows"]}, found["stale"]))
            status, found = self.worker.call("GET", f"/v1/projections/{self.projection}")
            if status == 200 and found["rebuilding"]:
                self.progress.append(found["rebuilding"])
                if len(self.progress) == 2:
                    self.hold.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


@pytest.mark.parametrize("name", ["people_directory", "locations"])
def test_while_rows_are_built_anew_every_answer_is_whole_and_current(crew: Group, name: str) -> None:
    options, hold = {"ROLES": "write,read", "API_PORT": "0"}, crew.folder / "hold"
    worker = crew.worker("one", patched(SLOW), **options).until_ready()
    asyncio.run(written(crew))

    def rows() -> Any:
        return worker.asked("GET", f"/v1/projections/{name}/rows?limit=1000")[1]

    worker.until(lambda: len(rows()["rows"]) == PEOPLE and not rows()["stale"], "all rows are there")
    assert worker.end() == 0  # what was in memory alone would be folded again, and by the mended fold
    worker = crew.worker("one", patched(MENDED.format(hold=str(hold))), **options).until_ready()
    worker.until(lambda: len(rows()["rows"]) == PEOPLE and not rows()["stale"], "the old rows answer")
    assert {row["name"] for row in rows()["rows"]} == {"ada" if name == "people_directory" else "lab"}
    api = worker.logged("worker started")[0]["api"]
    hold.touch()
    with Asking(worker, name, hold) as asking:
        rebuilt = subprocess.Popen([ENTRY_POINT, "projections", "rebuild", name, "--api", api], env=own_environment())
        assert rebuilt.wait(WITHIN_S) == 0
    assert len(asking.progress) > 1
    for progress in asking.progress:
        assert progress["failed"] == []
        assert sum(progress["positions"][WANTED[name]]) <= sum(progress["total"][WANTED[name]])
    assert {count for count, _, _ in asking.answers} == {PEOPLE}
    assert [stale for _, _, stale in asking.answers if stale] == []
    assert {row["name"] for row in rows()["rows"]} == {"ADA" if name == "people_directory" else "LAB"}
    told = annals("projections", "verify", name, "--json", "--api", api, environment=own_environment())
    assert told.returncode == 0, told.stderr + told.stdout
    assert json.loads(told.stdout)["result"]["rows"] == PEOPLE
