"""Judges what is read in a history, by the journals' bytes and the layout of a reading store, without the reading code.

A reading shard stops only where a fault explains it; at the end each has what counts in its journal, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from blake3 import blake3
from libipld import decode_multibase, encode_dag_cbor

from annals.agents.reading.found import READING
from annals.workers.tools.simulation.checker import journal_of
from annals.workers.tools.simulation.judged_records import cid_text, journal_cids

if TYPE_CHECKING:
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.checker import Event
    from annals.workers.tools.simulation.judged_records import Logs
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.reading_disks import DiskRows
    from annals.workers.tools.simulation.world import World

JUDGED: Final = b"aceohpqsv"  # key spaces; those of times, types and actors rest on the same events
MOST_REMEDIES: Final = 6  # of one partition
AGAIN_S: Final = 10.0
STORE_KNOWS: Final = "so the reading store in the data directory says"
WRITERS_KNOW: Final = ", and those who write had it up to "


class ReadingJudge:
    """Judges reading shards, and does what the how-to says where one has stopped."""

    def __init__(self, world: World) -> None:
        """Take the world; nothing has stopped yet."""
        self._world = world
        self._acts_at = 0.0
        self._remedies: Counter[Key] = Counter()

    def told(self, process: Process, key: Key, reason: str) -> None:
        """Judge a stop as it happens."""
        world = self._world
        world.note(f"the reader of {key[0]}-{key[1]} on worker {process.number} stopped: {reason}")
        world.counts["reader stopped"] += 1
        is_explained = (STORE_KNOWS in reason and self._store_knows_more(process, key)) or (
            WRITERS_KNOW in reason and (world.person.is_cut(process, key) or key in world.given_up)
        )
        if not is_explained:
            world.problems.append(f"reader stopped without a cause: {key[0]}-{key[1]}: {reason}")

    def failed(self, process: Process, key: Key, error: Exception) -> None:
        """Take note of a failure that is no fault's: of the program."""
        self._world.problems.append(f"reader failed: {key[0]}-{key[1]} on worker {process.number}: {error!r}")

    def judge_unaware(self) -> None:
        """See that no shard reads on behind a cut of which it could know: it opened since, or knew what is gone.

        One that had read what is gone sees no loss in a journal that is as long again, while its leader is the same.
        """
        world = self._world
        for process in world.processes:
            for key, followed in process.readers.here.items():
                is_reading = followed.shard.status().phase == READING
                shard = followed.shard
                is_as_long = shard.least_end() <= world.model.logs[world.names.events(key[0]), key[1]].stable
                had_read_it = cid_text(shard.last_cid) in world.lost_events and is_as_long
                is_told = world.must_stop(key) and (
                    shard.opened_at > world.cut_at[key] or (shard.known_until >= world.cut[key] and not had_read_it)
                )
                if is_reading and is_told and key not in world.perhaps_cut:
                    world.problems.append(
                        f"read on: {key[0]}-{key[1]} on worker {process.number}, behind a cut at {world.cut[key]}"
                    )

    def known_until(self, key: Key) -> int:
        """Return the offset of the last event of a journal that was acknowledged, as the group's offset says."""
        last = self._world.person.known(key).last
        return -1 if last is None else last.offset

    def begun_anew(self, process: Process, key: Key, store: DiskRows) -> None:
        """See that nobody takes the rows away that alone tell what a journal lost, without a word."""
        world = self._world
        logs = world.all_logs()
        there, has = journal_cids(logs, *key), _cids(store)
        first = min((chain[0] for chain in journal_of(logs, *key)[0].values()), default=None)
        last = store.position().last_offset
        here = process.readers.here.get(key)
        said = world.person.known(key) if here is None else here.shard.said  # those who write may have said more since
        is_this_journal = first.cid in has if first is not None else said.journal_end is not None
        # The shard asked when it opened: what the offset said that was lost since, nobody can tell now.
        may_have_been_told = here is not None and world.lost_offsets.get(key, -1.0) >= here.shard.opened_at
        if (
            not may_have_been_told
            and store.key == key
            and is_this_journal
            and not (world.lost_events & has) <= there
            and key not in world.given_up
            and self.known_until(key) < last
        ):
            world.problems.append(
                f"read anew: {key[0]}-{key[1]} on worker {process.number}, and its rows told of a loss"
            )

    def behind(self) -> list[str]:
        """Return the shards that are not where their journals end, and the partitions that nobody reads."""
        has_standbys = len(self._world.processes) > 1
        group = self._world.group
        missing = [f"nobody reads {key[0]}-{key[1]}" for key in group.missing_readers(has_standbys=has_standbys)]
        return missing + [line for process in self._world.processes for line in process.readers.behind()]

    async def look(self) -> None:
        """Act on the shards that have stopped, and start their workers again."""
        world = self._world
        if world.loop.time() < self._acts_at:
            return
        for process in list(world.processes):
            stopped = {key: reason for key, reason in process.readers.stopped().items() if self._may_act(key)}
            if not stopped:
                continue
            world.kill(process)
            for key, reason in stopped.items():
                if STORE_KNOWS in reason:
                    process.host.rows.pop(key, None)
                else:
                    await world.person.accept_the_journal(process, key)
            world.start(process.host)
            world.person.acted_at = world.loop.time()
            self._acts_at = world.loop.time() + AGAIN_S

    def differences(self) -> list[str]:
        """Return what reading shards have that differs from their journals, a line for each shard."""
        logs, found = self._world.all_logs(), []
        for process in self._world.processes:
            for key, followed in process.readers.here.items():
                there = rows_of(logs, *key)
                store = followed.stores.open_one
                rows = {} if store is None else store.rows
                has = {name: value for name, value in rows.items() if name[:1] in JUDGED and value}
                has |= {name: b"" for name in rows if name[:1] in b"chv"}
                wrong = sorted(name for name in there.keys() | has.keys() if there.get(name) != has.get(name))
                if wrong:
                    first = wrong[0]
                    found.append(
                        f"read wrong: {key[0]}-{key[1]} on worker {process.number}: {len(wrong)} rows, the first "
                        f"{first!r} is {has.get(first)!r} instead of {there.get(first)!r}"
                    )
        return found

    def _may_act(self, key: Key) -> bool:
        self._remedies[key] += 1
        return self._remedies[key] <= MOST_REMEDIES

    def _store_knows_more(self, process: Process, key: Key) -> bool:
        """Whether the store has an event that the journal lacks, since that was cut or the store is another shard's."""
        store = process.host.rows.get(key)
        if store is None:
            return False
        there = journal_cids(self._world.all_logs(), *key)
        return not _cids(store) <= there and (key in self._world.shortened or store.key != key)


def _cids(store: DiskRows) -> set[str]:
    """Return the CIDs of the events that a store has."""
    return {cid_text(value[8:44]) for name, value in store.rows.items() if name[:1] == b"e"}


def rows_of(logs: Logs, kind: str, partition: int) -> dict[bytes, bytes]:
    """Return the rows that a reading store has of a journal, in the key spaces that are judged."""
    chains, voids = journal_of(logs, kind, partition)
    rows: dict[bytes, bytes] = {b"v" + decode_multibase(cid)[1]: b"" for cid in voids}
    total = 0
    for key, chain in chains.items():
        size = 0
        for event in chain:
            version, cid, block = event.block["version"], decode_multibase(event.cid)[1], encode_dag_cbor(event.block)
            place = _text(key) + _number(version)
            offset = _number(event.offset)
            rows[b"e" + place] = offset + cid + block
            rows[b"o" + offset] = place
            rows[b"h" + cid[4:12] + offset] = b""
            rows[b"c" + _text(event.block["command_id"]) + offset] = b""
            size += len(block)
        first, last = chain[0], chain[-1]
        times = f"{first.block['recorded_at']}{last.block['recorded_at']}".encode()
        head = decode_multibase(last.cid)[1]
        rows[b"a" + key.encode()] = b"".join(map(_number, (len(chain), last.offset, size))) + head + times
        rows[b"s" + key.encode()] = _number(len(chain)) + msgspec.msgpack.encode(_state(chain))
        total += size
    if chains:
        events = sum(len(chain) for chain in chains.values())
        rows[b"q"] = b"".join(map(_number, (events, len(chains), total)))
    last_record = _last_record(logs, kind, partition)
    position = 0
    if last_record is not None:
        offset_, value = last_record
        position = offset_ + 1
        cid = b"\x01\x71\x1e\x20" + blake3(value).digest()
        rows[b"p"] = _number(position) + _number(offset_) + cid
    rows[b"pstates"] = _number(1) + _number(position)
    return rows


def _last_record(logs: Logs, kind: str, partition: int) -> tuple[int, bytes] | None:
    for entry in reversed(logs[f"events.{kind}", partition]):
        if not entry.is_marker and entry.status.value == "committed":
            record = entry.records()[-1]
            return record.offset, record.value or b""
    return None


def _state(chain: list[Event]) -> list[Any]:
    """Return a counter's status, name and total after its events."""
    status, name, total = "absent", "", 0
    for event in chain:
        data = event.block["data"]
        match event.block["type"]:
            case "CounterOpened":
                status, name = "open", data["name"]
            case "CounterRenamed":
                name = data["name"]
            case "Counted":
                total = data["total"]
            case _:
                status = "closed"
    return [status, name, total]


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "big") + text.encode()
