"""Makes commands: a deterministic mix of wishes, conflicts, duplicates, misplaced ones and what is no command."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ask:
    """One record to be sent: `partition` None is the key's own."""

    kind: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = field(default=())


def command(kind: str, aggregate_id: str, command_id: str, type_name: str, data: Any = None, **more: Any) -> Ask:
    """A command in the form that most producers use; `partition` puts it there."""
    partition = more.pop("partition", None)
    value = {"id": command_id, "type": type_name, "aggregate_id": aggregate_id, "data": data or {}, **more}
    return Ask(kind, aggregate_id.encode(), json.dumps(value).encode(), partition)


def register(number: int, of: str = "p") -> Ask:
    """A person, whose command id says so."""
    return command("person", f"{of}-{number}", f"{of}-{number}-register", "RegisterPerson", {"name": f"Name {number}"})


def rename(number: int, turn: int, of: str = "p", **more: Any) -> Ask:
    """A new name that the person did not have before."""
    data = {"name": f"Name {number} {turn}"}
    return command("person", f"{of}-{number}", f"{of}-{number}-rename-{turn}", "RenamePerson", data, **more)


def persons(count: int, turns: int, of: str = "p") -> list[Ask]:
    """Persons that are registered, and renamed so many times, in turns."""
    asks = [register(number, of) for number in range(count)]
    return asks + [rename(number, turn, of) for turn in range(turns) for number in range(count)]


def mix(seed: int, partitions: int, aggregates: int = 40) -> Iterator[Ask]:
    """Commands without end, the same for the same seed. Its aggregates' ids begin with the seed."""
    draw = random.Random(seed)
    made: list[Ask] = []
    number = 0
    while True:
        number += 1
        person, wagon = f"{seed}-p{draw.randrange(aggregates)}", f"{seed}-w{draw.randrange(aggregates // 4 + 1)}"
        command_id = f"{seed}-c{number}"
        roll = draw.random()
        if roll < 0.45:
            ask = _of_person(draw, person, command_id)
        elif roll < 0.7:
            ask = _of_wagon(draw, wagon, command_id)
        elif roll < 0.8 and made:
            ask = draw.choice(made[-200:])  # again, by a producer that does not know whether it arrived
        elif roll < 0.86:
            name = f"Misplaced {number}"
            ask = command("person", person, command_id, "RenamePerson", {"name": name}, partition=number % partitions)
        elif roll < 0.93:
            ask = _refused(draw, person, command_id)
        else:
            ask = _unreadable(draw, person, command_id)
        made.append(ask)
        yield ask


def _of_person(draw: random.Random, person: str, command_id: str) -> Ask:
    match draw.randrange(6):
        case 0:
            return command("person", person, command_id, "RegisterPerson", {"name": f"Born {command_id}"})
        case 1:
            return command("person", person, command_id, "SuspendPerson", {"reason": "for a while"})
        case 2:
            return command("person", person, command_id, "ReactivatePerson", {"reason": "back again"})
        case 3:
            expected = draw.choice([0, 1, 2, 3, "exists", "any"])
            data = {"name": f"Expecting {command_id}"}
            return command("person", person, command_id, "RenamePerson", data, expected_version=expected)
        case _:
            return command("person", person, command_id, "RenamePerson", {"name": f"Name of {command_id}"})


def _of_wagon(draw: random.Random, wagon: str, command_id: str) -> Ask:
    if draw.random() < 0.3:
        return command("wagon", wagon, command_id, "OpenWagon", {"label": wagon})
    return command("wagon", wagon, command_id, "LoadCrates", {"count": draw.choice([0, 1, 2, 3, 5, 20])})


def _refused(draw: random.Random, person: str, command_id: str) -> Ask:
    match draw.randrange(3):
        case 0:
            return command("person", person, command_id, "TeleportPerson", {"name": "Nobody"})
        case 1:
            return command("person", person, command_id, "RenamePerson", {"name": 7})
        case _:
            return command("person", person, command_id, "RenamePerson", {})


def _unreadable(draw: random.Random, person: str, command_id: str) -> Ask:
    key = person.encode()
    match draw.randrange(4):
        case 0:
            return Ask("person", key, b"not JSON at all: " + command_id.encode())
        case 1:
            return Ask("person", key, json.dumps([command_id]).encode())
        case 2:
            return Ask("person", key, json.dumps({"type": "RenamePerson", "aggregate_id": person, "data": {}}).encode())
        case _:
            other = {"id": command_id, "type": "RenamePerson", "aggregate_id": person + "x", "data": {"name": "X"}}
            return Ask("person", key, json.dumps(other).encode())
