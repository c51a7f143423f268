"""What a restored store knows of commands before its restore point: by their hashes, and by the journal."""

from typing import Any

import pytest

from annals.agents.ports import JournalRecord, StaleStateError, command_key
from annals.agents.writing.restore import restored
from annals.agents.writing.restore.restored import KnownIds, RestoredStore, UnresolvedCommandError, resolve
from annals.schemas.chain import seal
from annals.schemas.restore_point import command_hash, decode_ids, encode_ids
from annals.workers.stores.memory import MemoryStore

KEY = b"p-1"


class Journal:
    """The journal's events, one record each."""

    def __init__(self, *commands: str) -> None:
        self.records: list[JournalRecord] = []
        self.cids: list[bytes] = []
        head = None
        for version, command in enumerate(commands, 1):
            block, head = seal(
                kind="person", aggregate_id="p-1", version=version, previous=head, type="PersonRenamed",
                schema_version=1, recorded_at="2026-01-01T00:00:00.000000Z", command_id=command, correlation_id=command,
                causation_id=None, actor=None, data={},
            )  # fmt: skip
            self.records.append(JournalRecord(version - 1, KEY, block))
            self.cids.append(head)

    async def event_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        return self.records[offset] if offset < len(self.records) else None


def key_of(command: str) -> bytes:
    return command_key(KEY, command.encode())


def store_of(journal: Journal, *first: tuple[str, int]) -> RestoredStore:
    pairs = [(restored.command_hash(key_of(command)), offset) for command, offset in first]
    ids = KnownIds([decode_ids(encode_ids([pair])[1]) for pair in pairs])
    return RestoredStore("person", MemoryStore(), MemoryStore(), ids, len(journal.records))


async def resolved(store: RestoredStore, journal: Any, command: str) -> Any:
    await resolve(store, journal, [key_of(command)])
    return store.command(key_of(command))


async def test_a_command_is_known_with_all_its_events() -> None:
    journal = Journal("c1", "c2", "c2", "c3")
    store = store_of(journal, ("c1", 0), ("c2", 1), ("c3", 3))
    name = "PersonRenamed"
    assert await resolved(store, journal, "c2") == (2, [(journal.cids[1], name), (journal.cids[2], name)])
    assert await resolved(store, journal, "c3") == (4, [(journal.cids[3], name)])
    assert await resolved(store, journal, "c4") is None


async def test_two_commands_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restored, "command_hash", lambda command: 7)
    journal = Journal("c1", "c2")
    store = store_of(journal, ("c1", 0), ("c2", 1))
    assert await resolved(store, journal, "c1") == (1, [(journal.cids[0], "PersonRenamed")])
    assert await resolved(store, journal, "c2") == (2, [(journal.cids[1], "PersonRenamed")])
    assert await resolved(store, journal, "c3") is None


async def test_what_cannot_be_read_does_not_pass_for_another_command() -> None:
    journal = Journal("c1", "c2")
    store = store_of(journal, ("c1", 9), ("c2", 0))  # beyond the journal; and an event of another command
    for command in ("c1", "c2"):
        with pytest.raises(StaleStateError, match="has no event of the command"):
            await resolved(store, journal, command)


def test_a_command_that_was_not_resolved_is_not_taken_for_new() -> None:
    store = store_of(Journal("c1"), ("c1", 0))
    assert store.command(key_of("c2")) is None
    with pytest.raises(UnresolvedCommandError):
        store.command(key_of("c1"))
    assert store.has_failed


def test_the_hash_is_of_aggregate_and_command() -> None:
    assert command_hash(key_of("c1")) != command_hash(command_key(b"p-2", b"c1"))
