"""Two workers with a new version of a global projection, of which one is behind: no answer gets worse by the turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from annals.workers.client import CommandClient
from grouped import Group, GroupWorker, group
from processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

# A worker whose child, which reads, runs other lines first.
CHILD = """
import annals.workers.reader_process as parent
then = "from annals.workers.reader_child import main; import sys; main(sys.argv[1:])"
parent.PROGRAM = ("-P", "-c", {lines!r} + then)
"""
# A release with a second version of `locations`; its fold fails while a file is there.
SECOND = """
import dataclasses, pathlib
import msgspec
import annals.agents.registered as registered
known = dict(registered.projections())
(first,) = known["locations"]
def fold(event, rows):
    if pathlib.Path({held!r}).exists():
        raise RuntimeError("it is held")
    first.fold(event, rows)
    row = rows.get(event.aggregate_id)
    rows.put(msgspec.structs.replace(row, name=row.name.upper()), event.aggregate_id)
known["locations"] = (first, dataclasses.replace(first, version=2, fold=fold))
registered.projections = lambda: known
"""
PATH = "/v1/projections/locations"
PLACES = 4
OK = 200


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


async def written(crew: Group) -> None:
    async with CommandClient(crew.settings, timeout_s=90) as client:
        data = {"name": "lab", "location_type": "logical"}
        asks = [{"type": "DefineLocation", "aggregate_id": f"l-{each}", "data": data} for each in range(PLACES)]
        outcomes = await asyncio.gather(*(client.send("location", ask) for ask in asks))
        assert {each.status for each in outcomes} == {"accepted"}


def answered(worker: GroupWorker) -> tuple[set[str], int] | None:
    """The names in all rows, and their number; None while any are missing, or behind the journal."""
    status, found = worker.asked("GET", f"{PATH}/rows")
    if status != OK or found["missing"] or found["stale"]:
        return None
    return {row["name"] for row in found["rows"]}, len(found["rows"])


def first_record(worker: GroupWorker) -> bool:
    """Whether it wrote the record that says by which version all answer."""
    told = worker.logged("turned to a version of a projection")
    return ("locations", 1) in [(each["projection"], each["version"]) for each in told]


def test_all_workers_turn_to_a_global_projection_when_the_rows_of_each_are_there(crew: Group, tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("b", "a")}

    def start(patches: Any) -> list[GroupWorker]:
        """Two, of which the second comes first by its id in the group: it turns, and knows the other one."""
        options: dict[str, Any] = {"ROLES": "write,read"}
        return [
            crew.worker(name, patches(name), INSTANCE_ID=name, API_PORT=port, **options).until_ready()
            for name, port in ports.items()
        ]

    workers = start(lambda _: {})
    asyncio.run(written(crew))
    for each in workers:
        each.until(lambda each=each: answered(each) == ({"lab"}, PLACES), "all rows are there")
    # Without the first record the next release would answer by its newest version, whatever there is of its rows.
    workers[1].until(lambda: any(first_record(each) for each in workers), "the first record is written")
    for each in workers:
        assert each.end() == 0

    held = tmp_path / "held"
    held.touch()
    lines = {name: SECOND.format(held=str(held if name == "b" else tmp_path / "nothing")) for name in ports}
    workers = start(lambda name: {"exec": CHILD.format(lines=lines[name])})
    said = "a version of a projection is waited for at other workers"
    waits = workers[1].until(lambda: [each for each in workers[1].logged(said) if each["behind"]], "it waits")
    assert (waits[-1]["projection"], waits[-1]["version"]) == ("locations", 2)
    for each in workers:
        each.until(lambda each=each: answered(each) == ({"lab"}, PLACES), "the rows of the former version")
        assert each.asked("GET", PATH)[1]["version"] == 1

    held.unlink()
    assert workers[0].asked("POST", f"{PATH}/resume")[0] == OK
    for each in workers:
        each.until(lambda each=each: answered(each) == ({"LAB"}, PLACES), "the rows of the new version")
        assert each.asked("GET", PATH)[1]["version"] == 2
