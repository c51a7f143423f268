"""How many events a global projection is given in one turn of the event loop: fewer where each takes long."""

from dataclasses import replace

import pytest

from annals.agents.folding.turns import TURN_RECORDS, TURN_S
from annals.agents.projections import REGISTRY
from annals.agents.reading.read_models.global_fold import GlobalFold
from annals.schemas.kinds import location
from following import run_meanwhile, until
from projecting import GlobalStores, Journals, global_reader

NAME = "locations"
FIRST = REGISTRY[NAME]
EACH_S = 0.002
MOST_AT_ONCE = int(TURN_S / EACH_S)


@pytest.fixture
def turns(monkeypatch):
    """How many events each turn folds, on a thread whose time goes by as it folds."""
    found, passed = [0], [0.0]

    def fold(event, rows):
        FIRST.fold(event, rows)
        passed[0] += EACH_S
        found[-1] += 1

    def counted(original):
        def call(self, *arguments):
            result = original(self, *arguments)
            found.append(0)
            return result

        return call

    monkeypatch.setattr("annals.agents.reading.read_models.global_reader.thread_time", lambda: passed[0])
    monkeypatch.setattr(GlobalFold, "apply", counted(GlobalFold.apply))
    monkeypatch.setattr(GlobalFold, "catch_up", counted(GlobalFold.catch_up))
    return found, fold


@pytest.mark.parametrize("is_built_later", [False, True])
async def test_a_global_projection_that_takes_long_is_given_fewer_events_in_a_turn(turns, is_built_later):
    """Goes red when a process that has it answers nothing else while 500 events are folded."""
    found, fold = turns
    journals, stores = Journals(), GlobalStores()
    journals.append("location", "l-1", location.LocationDefined(name="lab", location_type="logical"))
    journals.append("location", "l-1", *(location.LocationRenamed(name=f"lab {at}") for at in range(2 * TURN_RECORDS)))
    if is_built_later:
        async with run_meanwhile(reader := global_reader(journals, stores, {NAME: (FIRST,)})):
            await until(lambda: sum(reader.positions.read_until.values()) == 2 * TURN_RECORDS + 1)
    versions = {NAME: (replace(FIRST, version=2 if is_built_later else 1, fold=fold),)}
    async with run_meanwhile(global_reader(journals, stores, versions)):
        await until(lambda: sum(found) == 2 * TURN_RECORDS + 1)
    there = [number for number in found if number]
    assert max(there[1:]) <= MOST_AT_ONCE, there
