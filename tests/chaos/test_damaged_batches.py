"""A broker's disk changes a record batch under running workers: its partition alone waits, and says for which."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import psutil
import pytest
from chaos_commands import persons, rename
from chaos_damage import flipped, led_forward
from chaos_publishing import service_of
from chaos_records import home_of
from chaos_scenario import Scenario, assert_clean
from chaos_subscriber import Subscribers, check_subscriber, counted
from chaos_workers import eventually

from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PEOPLE = 20
Damage = Callable[[Broker, str], AbstractContextManager[int]]


@pytest.mark.parametrize(
    ("topic", "role", "damage"),
    [("commands.person", "write", flipped), ("events.person", "read", flipped), ("events.person", "read", led_forward)],
)
async def test_a_damaged_batch_holds_its_partition_alone_and_all_goes_on_once_it_is_whole(
    people: Scenario, chaos_broker: Broker, topic: str, role: str, damage: Damage
) -> None:
    """Goes red when one batch has the whole process begin anew, again and again, with no word of where it is."""
    worker = people.start("a", {"reads": True}, ROLES="write,read", API_PORT="0").until_ready()
    await service_of(people, partitions=2).put("all", {"kinds": ["person"]})
    people.send(persons(PEOPLE, 0))
    assert_clean(people.until_answered())
    subscribers = Subscribers(people.bootstrap, people.prefix, ()).subscribe("all")
    eventually(lambda: subscribers.read().has("all") == PEOPLE, "all are published", told=people.told)

    process = psutil.Process(worker.process.pid)
    readers = process.children() if role == "read" else [process]
    for each in readers:  # it has not fetched the batch yet
        each.suspend()
    people.send(rename(number, 1) for number in range(PEOPLE))
    if role == "read":
        assert_clean(people.until_answered())
    chaos_broker.stop()  # in order: after a crash a broker cuts a damaged end off
    with damage(chaos_broker, f"{people.prefix}{topic}") as offset:
        chaos_broker.start()
        for each in readers:
            each.resume()
        told = f"{people.prefix}{topic}-0: the record batch at offset {offset} is damaged"
        worker.until_reason(f"{role}: person-0 is ", told)
        people.sender.send(rename(number, 2) for number in range(PEOPLE))
        others = sum(home_of(f"p-{number}".encode(), 2) for number in range(PEOPLE))

        def others_are_published() -> bool:
            return len(subscribers.read().places("all")[1]) == 3 * others

        eventually(others_are_published, "the other partition goes on", told=people.told)
        assert [reason for reason in worker.reasons() if told not in reason] == []
        assert "the app crashed" not in worker.log.read_text()
        chaos_broker.stop()
    chaos_broker.start()
    worker.until_ready()
    assert_clean(people.until_answered())
    chains = counted(people.read(), "person")
    eventually(lambda: subscribers.read().has("all") == 3 * PEOPLE, "all are published", told=people.told)
    assert set(check_subscriber(chains, subscribers.places("all")).counts().values()) == {0}
    subscribers.close()
