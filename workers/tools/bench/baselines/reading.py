"""What reading is measured beside: a fold that checks nothing and has no index, and a table of SQLite."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec
from libipld import decode_dag_cbor
from rocksdict import Options, Rdict, WriteBatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from annals.agents.ports import JournalRecord

NUMBER: Final = 8


def fold_plainly(folder: Path, records: Sequence[JournalRecord], batch_events: int) -> None:
    """Fold events into msgpack rows of RocksDB: each event, and its data merged into its aggregate's newest row."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003 - the library has no name for it
    store = Rdict(str(folder), options)
    newest: dict[bytes, dict[str, Any]] = {}
    encode = msgspec.msgpack.encode
    try:
        for at in range(0, len(records), batch_events):
            batch = WriteBatch(raw_mode=True)
            changed = set()
            for record in records[at : at + batch_events]:
                event = decode_dag_cbor(record.value)
                key = record.key or b""
                newest[key] = {**newest.get(key, {}), **event["data"]}
                changed.add(key)
                batch.put(b"e" + key + event["version"].to_bytes(NUMBER, "big"), encode(event))
            for key in changed:
                batch.put(b"s" + key, encode(newest[key]))
            store.write(batch)
    finally:
        store.close()


class EventTable:
    """Events in SQLite, by type and time."""

    def __init__(self, file: Path) -> None:
        """Make the table."""
        self._database = sqlite3.connect(file)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE events (type TEXT, time TEXT, block BLOB)")
        self._database.execute("CREATE INDEX by_type_and_time ON events (type, time)")

    def add(self, records: Sequence[JournalRecord]) -> None:
        """Add events."""
        events = ((decode_dag_cbor(record.value), record.value) for record in records)
        rows = ((event["type"], event["recorded_at"], block) for event, block in events)
        self._database.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
        self._database.commit()

    def page(self, type_name: str, since: str, until: str, limit: int) -> list[Any]:
        """Return events, decoded."""
        found = self._database.execute(
            "SELECT block FROM events WHERE type = ? AND time >= ? AND time < ? ORDER BY time LIMIT ?",
            (type_name, since, until, limit),
        )
        return [decode_dag_cbor(block) for (block,) in found]

    def close(self) -> None:
        """Close the database."""
        self._database.close()
