"""The checker finds each sort of damage: one that never complains proves nothing."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from chaos_chain import cid_of
from chaos_checker import check
from chaos_commands import Ask, command
from chaos_journal import block
from chaos_records import Record, home_of
from chaos_sender import Sent

PARTITIONS = 2
HOME = home_of(b"p-1", PARTITIONS)
COMMANDS, EVENTS, OUTCOMES = (TopicPartition(f"{role}.person", HOME) for role in ("commands", "events", "outcomes"))


class Written:
    """Topics as a worker would leave them: a person registered, renamed, and a command refused."""

    kinds = ("person",)

    def __init__(self) -> None:
        self.partitions = dict.fromkeys(("commands.person", "events.person", "outcomes.person"), PARTITIONS)
        self.partitions["dead-letters"] = 1
        self.by_place: dict[TopicPartition, list[Record]] = defaultdict(list)
        first = block("p-1", 1, None, "c-1", "Ada")
        second = block("p-1", 2, cid_of(first), "c-2", "Grace")
        self.ask(command("person", "p-1", "c-1", "RegisterPerson", {"name": "Ada"}))
        self.ask(command("person", "p-1", "c-2", "RenamePerson", {"name": "Grace"}))
        self.ask(command("person", "p-1", "c-3", "RenamePerson", {"name": 7}))
        self.ask(Ask("person", b"p-1", b"no JSON"))
        self.event(first)
        self.event(second)
        self.outcome(0, "c-1", "accepted", first)
        self.outcome(1, "c-2", "accepted", second)
        self.outcome(2, "c-3", "rejected", second)
        place = {"source-topic": b"x.commands.person", "source-partition": b"%d" % HOME, "source-offset": b"3"}
        self.by_place[TopicPartition("dead-letters", 0)].append(
            Record(0, b"p-1", b"no JSON", {**place, "reason": b"not_json"}, 0)
        )

    def of(self, role: str, kind: str) -> list[tuple[int, list[Record]]]:
        return [
            (partition, self.by_place[TopicPartition(f"{role}.{kind}", partition)]) for partition in range(PARTITIONS)
        ]

    def ask(self, ask: Ask, partition: int = HOME, **headers: bytes) -> None:
        known = self.by_place[TopicPartition("commands.person", partition)]
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        known.append(Record(len(known), ask.key, ask.value, named, 0))

    def event(self, value: bytes, offset: int | None = None) -> None:
        known = self.by_place[EVENTS]
        offset = len(known) if offset is None else offset
        known.append(Record(offset, b"p-1", value, {"ce_id": cid_of(value).encode()}, 0))

    def outcome(self, offset: int, command_id: str, status: str, last: bytes) -> None:
        events = [] if status == "rejected" else [{"version": _version(last), "cid": cid_of(last), "type": "X"}]
        said = {
            "command_id": command_id,
            "status": status,
            "version": _version(last),
            "head": cid_of(last),
            "events": events,
            "error": {"code": "invalid_command"} if status == "rejected" else None,
        }
        known = self.by_place[OUTCOMES]
        known.append(Record(len(known), b"p-1", json.dumps(said).encode(), {"command-offset": b"%d" % offset}, 0))


def _version(value: bytes) -> int:
    import dag_cbor

    return int(dag_cbor.decode(value)["version"])


def head(written: Written) -> bytes:
    return written.by_place[EVENTS][1].value or b""


def no_last_event(written: Written) -> None:
    written.by_place[EVENTS].pop()


def no_first_event(written: Written) -> None:
    del written.by_place[EVENTS][0]


def no_outcome(written: Written) -> None:
    del written.by_place[OUTCOMES][1]


def two_outcomes(written: Written) -> None:
    written.outcome(1, "c-2", "accepted", head(written))


def decided_twice(written: Written) -> None:
    written.event(block("p-1", 3, cid_of(head(written)), "c-2", "Grace"))


def a_second_branch(written: Written) -> None:
    written.event(block("p-1", 2, cid_of(written.by_place[EVENTS][0].value or b""), "c-9", "Other"))


def an_event_of_nobody(written: Written) -> None:
    written.event(block("p-1", 3, cid_of(head(written)), "c-9", "Nobody"))


def an_event_behind_a_gap(written: Written) -> None:
    written.event(block("p-1", 9, cid_of(b"?"), "c-9", "Far"))


def no_event_at_all(written: Written) -> None:
    written.event(b"\xff")


def not_canonical(written: Written) -> None:
    written.event(head(written) + b"\x00")


def half_of_two_events(written: Written) -> None:
    written.kinds = ("person", "wagon")
    written.partitions |= dict.fromkeys(("commands.wagon", "events.wagon", "outcomes.wagon"), PARTITIONS)
    place = home_of(b"w-1", PARTITIONS)
    asked = [
        command("wagon", "w-1", "w-open", "OpenWagon", {"label": "a"}),
        command("wagon", "w-1", "w-load", "LoadCrates", {"count": 2}),
    ]
    for offset, ask in enumerate(asked):
        written.by_place[TopicPartition("commands.wagon", place)].append(Record(offset, ask.key, ask.value, {}, 0))
    opened = block("w-1", 1, None, "w-open", "", kind="wagon", type="WagonOpened", data={"label": "a"})
    loaded = block(
        "w-1", 2, cid_of(opened), "w-load", "", kind="wagon", type="CrateLoaded", data={"number": 1, "contents": ""}
    )
    for offset, value in enumerate([opened, loaded]):
        headers = {"ce_id": cid_of(value).encode()}
        written.by_place[TopicPartition("events.wagon", place)].append(Record(offset, b"w-1", value, headers, 0))


def another_name(written: Written) -> None:
    first = written.by_place[EVENTS][0].value or b""
    written.by_place[EVENTS][1:] = []
    written.event(block("p-1", 2, cid_of(first), "c-2", "Somebody else"))


def another_answer(written: Written) -> None:
    del written.by_place[OUTCOMES][2]
    written.outcome(2, "c-3", "duplicate", head(written))


def buried_twice(written: Written) -> None:
    written.by_place[TopicPartition("dead-letters", 0)] *= 2


def not_buried(written: Written) -> None:
    written.by_place[TopicPartition("dead-letters", 0)].clear()


def forwarded_twice(written: Written) -> None:
    ask = command("person", "p-1", "c-8", "RenamePerson", {"name": "Grace"})
    written.ask(ask, 1 - HOME)
    for _ in range(2):
        written.ask(ask, HOME, origin_partition=b"%d" % (1 - HOME), origin_offset=b"0")


def test_what_a_worker_leaves_is_clean() -> None:
    report = check(Written())
    assert report.found() == set(), str(report)
    assert (report.commands, report.events, report.aggregates) == (4, 2, 1)


@pytest.mark.parametrize(
    ("damage", "category"),
    [
        (no_last_event, "lost"),
        (no_first_event, "gaps"),
        (no_outcome, "unanswered"),
        (two_outcomes, "duplicated"),
        (decided_twice, "duplicated"),
        (a_second_branch, "void"),
        (a_second_branch, "forked"),
        (an_event_of_nobody, "invented"),
        (an_event_behind_a_gap, "gaps"),
        (no_event_at_all, "foreign"),
        (not_canonical, "foreign"),
        (half_of_two_events, "torn"),
        (another_name, "wrong"),
        (another_answer, "wrong"),
        (buried_twice, "duplicated"),
        (not_buried, "unanswered"),
        (forwarded_twice, "duplicated"),
    ],
)
def test_each_sort_of_damage_is_reported(damage: Callable[[Any], None], category: str) -> None:
    written = Written()
    damage(written)
    report = check(written)
    assert category in report.found(), str(report)


def test_what_was_acknowledged_and_is_not_in_the_log_is_lost() -> None:
    sent = Sent(command("person", "p-1", "c-7", "RenamePerson", {"name": "X"}), "acknowledged", HOME, 9)
    assert check(Written(), [sent]).lost


def test_the_partitioner_is_javas() -> None:
    # the examples of the contract
    keys = ("p-1", "p-3", "Ä")
    assert [[home_of(key.encode(), count) for count in (3, 4, 12)] for key in keys] == [[1, 0, 4], [1, 3, 7], [1, 0, 4]]
