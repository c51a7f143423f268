"""Judges by the topics' bytes what became of each event that was parked: it is parked, or was replayed or discarded.

The row of an aggregate has one record after another in `deliveries.<name>`: what follows one that is parked is a
decision, of one call of one administrator, and nothing else is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from annals.workers.tools.simulation.administrators import MANY, REPLAY, Administrator, reason_of
from annals.workers.tools.simulation.judged_records import committed
from annals.workers.tools.simulation.plan import PARTITIONS
from annals.workers.tools.simulation.subscriptions import ANSWERED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.workers.memory.partition import Record
    from annals.workers.tools.simulation.administrators import Call
    from annals.workers.tools.simulation.world import World

    Attempt = tuple[str, int]  # CID, and how often it was delivered


class Said(NamedTuple):
    """A record of a row: where it is, and what it says; nothing: it is settled."""

    offset: int
    row: dict[str, Any]

    @property
    def cid(self) -> str:
        """Which event this is."""
        return str(self.row.get("cid", ""))

    @property
    def attempt(self) -> Attempt:
        """Which event this is, and how often it was delivered."""
        return self.cid, self.row.get("attempt", 0)

    @property
    def state(self) -> str:
        """Its state."""
        return str(self.row.get("state", ""))

    @property
    def by(self) -> str:
        """Who decided about it last."""
        return str(self.row.get("by", ""))


class ParkingJudge:
    """The administrators of a history, and what is said of what they did."""

    def __init__(self, world: World) -> None:
        """Take the world; nothing is parked yet."""
        self._world = world
        self._calls: list[Call] = []
        self.administrators = [Administrator(world, number, self._calls) for number in range(1, MANY + 1)]

    def behind(self) -> list[str]:
        """Return what is parked yet, but for partitions whose publisher has stopped: nothing of these is delivered."""
        return [
            f"{key} is parked"
            for partition in range(PARTITIONS)
            for key, rows in self._rows(partition).items()
            if rows[-1].state == "parked" and not self._has_stopped(rows[-1], partition)
        ]

    def discarded(self) -> set[str]:
        """Return the CIDs of what was discarded for good, by whomever."""
        return {
            after.cid
            for partition in range(PARTITIONS)
            for rows in self._rows(partition).values()
            for before, after in pairwise(rows)
            if before.state == "parked" and after.state == "discarded"
        }

    def differences(self) -> list[str]:
        """Return what became of parked events that should not have, and the other way round."""
        found, made = list[str](), Counter[str]()
        calls = {call.by: call for call in self._calls}
        for partition in range(PARTITIONS):
            kept = self._kept(partition)
            found += [f"parked twice: {each}" for each, offsets in kept.items() if len(offsets) > 1]
            parked: dict[Attempt, int] = {}
            for key, rows in self._rows(partition).items():
                for before, after in zip(rows, [*rows[1:], None], strict=True):
                    if before.state == "parked":
                        if before.attempt in parked:
                            found.append(f"parked again by the same attempt: {key} {before.attempt}")
                        parked[before.attempt] = before.offset
                        lines = self._of_parked(before, after, kept, calls, partition)
                        made[after.by if after is not None else ""] += 1
                    else:
                        lines = _of_other(before, after)
                    found += [f"{line}: {key} {before.attempt} in {partition}" for line in lines]
            found += [f"parked without its row: {each}" for each in kept.keys() - parked.keys()]
        found += [
            f"miscounted: {call.by} was answered {call.count} and decided {made[call.by]}"
            for call in self._calls
            if call.count not in (None, made[call.by])
        ]
        return found

    def _of_parked(
        self, before: Said, after: Said | None, kept: dict[Attempt, list[int]], calls: dict[str, Call], partition: int
    ) -> Iterator[str]:
        """Yield what is wrong with a parked row, and with what follows."""
        attempt = before.attempt
        if attempt not in kept:
            yield "parked without its record"
            return
        yield from self._left(before, after, kept[attempt][0], partition)
        if after is None:
            return
        if after.attempt != attempt or after.state not in ("waiting", "discarded"):
            yield f"forgotten: {after} follows"
            return
        call = calls.get(after.by)
        if call is None:
            yield f"decided by nobody: {after}"
            return
        if not _means(call, before.row, kept[attempt][0]):
            yield f"decided though not meant: by {call}"
        if (after.state == "waiting") is not (call.what == REPLAY):
            yield f"decided otherwise than asked: {after} by {call}"
        following = attempt[0], attempt[1] + 1
        if after.state == "discarded":
            if after.row.get("reason") != reason_of(call.by):
                yield f"discarded for another reason: {after}"
            if following in self._delivered(partition):
                yield "delivered though it was discarded"
        elif not self._has_stopped(before, partition) and not (
            following in self._delivered(partition) or attempt in self._acknowledged()
        ):
            yield "replayed and never delivered again"

    def _left(self, before: Said, after: Said | None, place: int, partition: int) -> Iterator[str]:
        """Yield which calls were answered, meant a row, saw it, and left it parked."""
        for call in self._calls:
            is_seen = before.offset < call.since[partition]
            is_decided = after is not None and (call.count is None or after.offset < call.until[partition])
            if call.count is not None and is_seen and not is_decided and _means(call, before.row, place):
                yield f"left parked: by {call}"

    def _rows(self, partition: int) -> dict[str, list[Said]]:
        """Return the records of each row in their order."""
        found: dict[str, list[Said]] = defaultdict(list)
        for record in self._records(self._world.names.deliveries(ANSWERED), partition):
            row = {} if record.value is None else orjson.loads(record.value)
            found[(record.key or b"").decode()].append(Said(record.offset, row))
        return found

    def _kept(self, partition: int) -> dict[Attempt, list[int]]:
        """Return where the records of parked events are."""
        found: dict[Attempt, list[int]] = defaultdict(list)
        for record in self._records(self._world.names.parked(ANSWERED), partition):
            headers = dict(record.headers)
            attempt = (headers["ce_id"] or b"").decode(), int(headers["attempts"] or b"0")
            found[attempt].append(record.offset)
        return found

    def _delivered(self, partition: int) -> set[Attempt]:
        """Return what was delivered, also where the topic has lost it."""
        entries = self._world.publishing.all_of((self._world.names.subscribers(ANSWERED), partition))
        headers = [dict(record.headers) for _, record in committed(entries) if record.value is not None]
        return {((each["ce_id"] or b"").decode(), int(each.get("ce_redelivery") or b"1")) for each in headers}

    def _acknowledged(self) -> set[Attempt]:
        """Return which attempts the subscriber acknowledged, wherever."""
        answers = [
            orjson.loads(record.value or b"")
            for partition in range(PARTITIONS)
            for record in self._records(self._world.names.acks(ANSWERED), partition)
        ]
        return {(each["cid"], each["attempt"]) for each in answers if each["verdict"] == "ack"}

    def _records(self, topic: str, partition: int) -> Iterator[Record]:
        return (record for _, record in committed(self._world.model.logs[topic, partition].entries))

    def _has_stopped(self, said: Said, partition: int) -> bool:
        return self._world.publishing.has_stopped((said.row["kind"], partition))


def _of_other(before: Said, after: Said | None) -> Iterator[str]:
    """Yield what is wrong with what follows a row that is not parked: a decision only follows one that is."""
    if after is None:
        return
    is_anew = after.state == "waiting" and after.row.get("attempt", 0) > 0 and after.row.get("tries", 0) == 0
    is_replayed = is_anew and after.row.get("due", 0) == after.row.get("at", 0)
    is_anothers = after.by != "" and (after.by, after.cid) != (before.by, before.cid)
    if is_anothers or is_replayed:
        yield f"decided though not parked: {after}"


def _means(call: Call, row: dict[str, Any], place: int) -> bool:
    """Whether a call is about a row. place: of its record in `parked.<name>`."""
    choice = call.choice
    return (
        (choice.cids is None or row["cid"] in choice.cids)
        and choice.kind in (None, row["kind"])
        and choice.aggregate_id in (None, row["aggregate_id"])
        and (call.stop_at is None or place < call.stop_at)
    )
