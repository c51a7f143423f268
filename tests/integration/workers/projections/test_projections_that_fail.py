"""Projections and a reaction of another distribution that fail on one event, in a group of three workers."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

import pytest

from annals.topics.keys import partition_of
from distributions import installed
from grouped import SOON_MISSED, Group, GroupWorker, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.untraced]

PARTITIONS = 3
BAD = "p-3"
WHERE = partition_of(BAD.encode(), PARTITIONS)
CODE = """
import time
from dataclasses import replace
from pathlib import Path

from annals.agents.projections.locations import LOCATIONS
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.agents.reactions.reaction import Reacted, Reaction
from annals.schemas.commands import command
from annals.schemas.kinds import person as say
from msgspec import Struct

MENDED = Path({mended!r})


def failing(of, bad, does, name):
    def fold(event, rows):
        if event.aggregate_id == bad and not MENDED.exists():
            does(event, rows)
        else:
            of.fold(event, rows)
    return replace(of, name=name, fold=fold)


def opens(event, rows):
    open("/nowhere/at/all")


def hangs(event, rows):
    time.sleep(3600)


OPENS = failing(PEOPLE_DIRECTORY, {bad!r}, opens, "opens")
HANGS = failing(PEOPLE_DIRECTORY, {bad!r}, hangs, "hangs")
EVERYWHERE = failing(LOCATIONS, "l-3", opens, "everywhere")


class Seen(Struct, frozen=True):
    count: int = 0


def react(state, event):
    if event.aggregate_id == {bad!r} and not MENDED.exists():
        time.sleep(3600)
    return Reacted(Seen(1), [command("person", event.aggregate_id, say.AddEmail("a@example.org"))])


GREETS = Reaction("greets", 1, "person", frozenset([say.PersonRegistered]), Seen, react)
"""
ENTRY_POINTS = """[annals.projections]
opens = failing_of_ours:OPENS
hangs = failing_of_ours:HANGS
everywhere = failing_of_ours:EVERYWHERE
[annals.reactions]
greets = failing_of_ours:GREETS
"""


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    """A file by which all processes have a release that is mended."""
    return tmp_path / "mended"


@pytest.fixture
def crew(
    bootstrap: str, topic_prefix: str, tmp_path: Path, mended: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Group]:
    code = CODE.format(mended=str(mended), bad=BAD)
    monkeypatch.setenv("PYTHONPATH", installed(tmp_path / "site", "annals-failing", ENTRY_POINTS, failing_of_ours=code))
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


def send(crew: Group, numbers: range) -> None:
    people = [("person", f"p-{each}", "RegisterPerson", {"name": "Ada"}) for each in numbers]
    places = [
        ("location", f"l-{each}", "DefineLocation", {"name": "L", "location_type": "logical"}) for each in numbers
    ]
    crew.send(
        {"kind": kind, "aggregate_id": aggregate_id, "type": name, "data": data}
        for kind, aggregate_id, name, data in (*people, *places)
    )


def rows(worker: GroupWorker, name: str) -> set[str]:
    _, found = worker.call("GET", f"/v1/projections/{name}/rows?limit=1000")
    return {row["aggregate_id"] for row in found.get("rows", ())}


def reasons(worker: GroupWorker, name: str) -> list[str]:
    """Why a projection stands; others have other reasons while partitions move or are read."""
    _, found = worker.call("GET", f"/v1/projections/{name}")
    return [each["reason"] for each in found.get("stale", ()) if each["reason"].startswith(f"{name}/1 failed on ")]


def failed(worker: GroupWorker) -> dict[str, str]:
    """Wait until all that fail are named; why, by name."""
    found: dict[str, str] = {}

    def are_named() -> bool:
        found.update({name: each for name in ("opens", "hangs", "everywhere") for each in reasons(worker, name)})
        return len(found) == 3

    worker.until(are_named, "what fails is named")
    return found


def names(number: int) -> set[str]:
    return {f"p-{each}" for each in range(number)}


def until_the_reaction_stops(workers: list[GroupWorker]) -> None:
    def told() -> list[str]:
        return [line["reason"] for each in workers for line in each.logged("reaction failed")]

    workers[0].until(told, "the reaction has stopped")
    assert told()[0].startswith(f"person '{BAD}' version 1, offset ")
    assert told()[0].endswith(": it took longer than 5 s")


def test_what_fails_on_one_event_stops_alone_and_goes_on_when_it_is_mended(crew: Group, mended: Path) -> None:
    options = {"ROLES": "write,read", "API_PORT": "0"}
    workers = [crew.worker(name, SOON_MISSED, **options) for name in ("one", "two", "three")]
    for each in workers:
        each.until_ready()
    worker = workers[0]
    worker.subscribe("all", kinds=["person"], types=["PersonRegistered"])
    assert worker.asked("POST", "/v1/reactions/greets/resume")[0] == 200
    send(crew, range(12))
    why = failed(worker)
    place = f"failed on PersonRegistered of person '{BAD}' version 1, partition {WHERE}, offset "
    assert why["opens"].startswith(f"opens/1 {place}")
    assert why["opens"].endswith(": FileNotFoundError")
    assert why["hangs"].startswith(f"hangs/1 {place}")
    assert why["hangs"].endswith(": it took longer than 5 s")
    assert why["everywhere"].startswith("everywhere/1 failed on LocationDefined of location 'l-3' version 1, ")
    # All others go on: projections, publishing, and what is asked about the journal.
    worker.until(lambda: rows(worker, "people_directory") == names(12), "all rows of another projection")
    worker.until(lambda: len(rows(worker, "locations")) == 12, "all rows of another kind")
    elsewhere = {each for each in names(12) if partition_of(each.encode(), PARTITIONS) != WHERE}
    for name in ("opens", "hangs"):
        worker.until(lambda name=name: rows(worker, name) >= elsewhere, f"{name} goes on in other partitions")
        assert BAD not in rows(worker, name)
    worker.until(
        lambda: worker.asked("GET", "/v1/subscriptions/all")[1]["lag"]["events"] == 0, "everything is published"
    )
    api = worker.logged("worker started")[0]["api"]
    done = crew.run("projections", "status", "opens", "--api", api)
    assert done.returncode == 1
    assert why["opens"] in done.stdout
    assert crew.run("projections", "verify", "opens", "--api", api).returncode == 0  # of what it has
    done = crew.run("projections", "show", "opens", "--at", "2100-01-01T00:00:00Z")
    assert (done.returncode, why["opens"] in done.stderr) == (2, True)
    worker.until(lambda: all(each.health() == [] for each in workers), "all are ready")
    alert = "annals_projection_failed{"

    def raised() -> set[str]:
        lines = [line for each in workers for line in each.metrics().splitlines() if line.startswith(alert)]
        return {line.split('projection="')[1].split('"')[0] for line in lines}

    worker.until(lambda: raised() >= {"opens", "hangs", "everywhere"}, "each raises the alarm")

    until_the_reaction_stops(workers)

    # It survives a restart and a rebalance.
    workers.pop().kill()
    again = crew.worker("four", SOON_MISSED, **options).until_ready()
    assert failed(again) == why
    send(crew, range(12, 24))
    worker.until(lambda: rows(again, "people_directory") == names(24), "the others go on")
    mended.touch()
    for name in ("opens", "hangs", "everywhere"):
        path = f"/v1/projections/{urllib.parse.quote(name)}/resume"
        assert worker.asked("POST", path)[0] == 200
    for name in ("opens", "hangs"):
        worker.until(lambda name=name: rows(again, name) == names(24), f"{name} goes on")
    worker.until(lambda: len(rows(again, "everywhere")) == 24, "the global one goes on")
    assert worker.asked("POST", "/v1/reactions/greets/resume")[0] == 200

    def greeted() -> int:
        _, found = worker.asked("GET", "/v1/projections/people_directory/rows?email=a%40example.org&limit=100")
        return len(found["rows"])

    worker.until(lambda: greeted() == 24, "everybody is greeted")
    assert all(each.end() == 0 for each in (*workers, again))
