"""What a stranger may send into a topic of commands: vast, deep, packed, or no command at all."""

import json
import os
from collections.abc import Iterator
from typing import Final

from chaos_commands import Ask, command
from confluent_kafka import Producer

VAST: Final = 100_000  # values in one list
DEEP: Final = 20_000  # lists in one another
HEADER_BYTES: Final = 200_000
UNPACKED_BYTES: Final = 20_000_000
PATIENCE_S: Final = 10.0


def hostile(turn: int) -> Iterator[Ask]:
    """One of each kind. Their ids say the turn."""
    person, of = f"hostile-{turn}", f"hostile-{turn}-"
    yield command("person", person, of + "list", "RenamePerson", {"name": [0] * VAST})
    yield command("person", person, of + "members", "RenamePerson", {str(number): {} for number in range(VAST // 5)})
    yield _deep(person, of + "deep")
    yield Ask("person", *_plain(person, of + "one-header"), headers=(("x", b"x" * HEADER_BYTES),))
    many = tuple((f"x{number}", b"x" * 8) for number in range(HEADER_BYTES // 10))
    yield Ask("person", *_plain(person, of + "many-headers"), headers=many)
    yield Ask("person", person.encode(), None)
    yield Ask("person", b"\xff\xfe", _plain(person, of + "key")[1])
    yield Ask("person", person.encode(), os.urandom(1_000) + b"\xff")
    yield Ask("person", *_plain(person, of + "registered"))


def send_bomb(bootstrap: str, topic: str, key: bytes) -> None:
    """Send a record that unpacks to twenty times what is allowed; the broker may refuse it, or the worker."""
    options = {"compression.type": "zstd", "message.max.bytes": 2 * UNPACKED_BYTES, "log_level": 0}
    producer = Producer({"bootstrap.servers": bootstrap, "delivery.timeout.ms": int(PATIENCE_S * 1000), **options})
    producer.produce(topic, key=key, value=b'{"id": "' + b"0" * UNPACKED_BYTES + b'"}')
    producer.flush(PATIENCE_S)


def _plain(person: str, command_id: str) -> tuple[bytes, bytes]:
    ask = command("person", person, command_id, "RegisterPerson", {"name": "Somebody"})
    assert ask.key is not None
    assert ask.value is not None
    return ask.key, ask.value


def _deep(person: str, command_id: str) -> Ask:
    ask = command("person", person, command_id, "RenamePerson", {"name": "HERE"})
    assert ask.value is not None
    return Ask("person", ask.key, ask.value.replace(json.dumps("HERE").encode(), b"[" * DEEP + b"]" * DEEP))
