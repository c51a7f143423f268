"""Journals for the test vectors: what each record is, given those before it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from generator.blocks import LINKED, block
from generator.cbor import Link, cid_of

Judged = tuple[bytes | None, bytes | None, str]  # key, value, verdict
Kept = tuple[str, bytes, bool]  # aggregate id, CID, whether it is in the chain


class Journal(NamedTuple):
    """The records of one partition, and heads that somebody kept."""

    name: str
    records: list[Judged]
    kept: list[Kept] = []
    kind: str = "person"
    partition: int = 0
    partitions: int = 1


def event(version: int, previous: bytes | None, aggregate_id: str = "p-1", **members: Any) -> bytes:
    """Return the block of an event in a chain; `previous` is the block before."""
    link = None if previous is None else Link(cid_of(previous))
    by = members.pop("by", "")
    return block(
        aggregate_id=aggregate_id,
        version=version,
        previous=link,
        command_id=f"c-{version}{by}",
        **{"type": "PersonRegistered" if version == 1 else "PersonRenamed", **members},
    )


def chain(
    count: int, aggregate_id: str = "p-1", after: bytes | None = None, at: int = 0, **members: Any
) -> list[bytes]:
    """Return the next events of an aggregate, behind version `at`."""
    blocks: list[bytes] = []
    last = after
    for version in range(at + 1, at + count + 1):
        last = event(version, last, aggregate_id, **members)
        blocks.append(last)
    return blocks


def of(verdict: str, *blocks: bytes | None, key: str | None = "p-1") -> list[Judged]:
    """Return records under one key with one verdict."""
    own = None if key is None else key.encode()
    return [(own, each, verdict) for each in blocks]


ONE, TWO, THREE, FOUR = chain(4)
LOST: Final = chain(4, after=ONE, at=1, by="-zombie")  # versions 2 to 5 of another writer
P2: Final = chain(3, "p-2")
P3: Final = chain(2, "p-3")
COMPOSED: Final = chain(2, "\u00c4")
DECOMPOSED: Final = chain(2, "A\u0308")
FLOATS: Final = chain(3, data={"latitude": 52.0, "longitude": 13})
ALTERED: Final = event(2, ONE, data={"name": "Mallory"})
LONGER: Final = TWO.replace(b"gversion\x02", b"gversion\x18\x02")
SHORT: Final = FLOATS[1].replace(b"\xfb\x40\x4a" + bytes(6), b"\xf9\x52\x80")
EARLIER: Final = event(2, ONE, recorded_at="2001-01-01T00:00:00.000000Z")
PARTITIONS: Final = 4  # of them p-1 belongs to 0, p-3 to 3

JOURNALS: Final = [
    Journal("nothing", [], [("p-1", cid_of(ONE), False)]),
    Journal(
        "a chain",
        of("counts", ONE, TWO, THREE, FOUR),
        [("p-1", cid_of(FOUR), True), ("p-1", cid_of(TWO), True), ("p-1", cid_of(LOST[0]), False)],
    ),
    Journal(
        "two chains in turns",
        [
            *of("counts", ONE),
            *of("counts", P2[0], key="p-2"),
            *of("counts", TWO),
            *of("counts", P2[1], key="p-2"),
        ],
        [("p-1", cid_of(TWO), True), ("p-2", cid_of(P2[1]), True), ("p-2", cid_of(TWO), False)],
    ),
    Journal(
        "whole floats in every event",
        of("counts", *FLOATS),
        [("p-1", cid_of(FLOATS[2]), True)],
    ),
    Journal(
        "an end that is cut off shows only against a kept head",
        of("counts", ONE, TWO),
        [("p-1", cid_of(TWO), True), ("p-1", cid_of(THREE), False)],
    ),
    Journal("events twice are void", [*of("counts", ONE, TWO), *of("void", ONE, TWO), *of("counts", THREE)]),
    Journal(
        "the loser of two writers is void to its end, void after void",
        [*of("counts", ONE, TWO), *of("void", *LOST), *of("counts", THREE), *of("void", LOST[3])],
        [("p-1", cid_of(THREE), True), ("p-1", cid_of(LOST[3]), False)],
    ),
    Journal(
        "what continues a void event is void whatever its version",
        [*of("counts", ONE, TWO), *of("void", LOST[0]), *of("void", event(9, LOST[0]))],
    ),
    Journal(
        "void is a link to a void event of another aggregate, too",
        [
            *of("counts", ONE, TWO),
            *of("void", LOST[0]),
            *of("void", event(7, LOST[0], "p-2"), key="p-2"),
            *of("counts", P2[0], key="p-2"),
        ],
    ),
    Journal(
        "versions at or below the last, and links to elsewhere",
        [
            *of("void", event(0, None), event(-7, None), block(previous=Link(LINKED))),
            *of("counts", ONE),
            *of(
                "void", event(0, ONE), event(-(2**64), None), block(version=2), block(version=2, previous=Link(LINKED))
            ),
            *of("counts", TWO),
        ],
    ),
    Journal("a gap in a chain", [*of("counts", ONE), *of("gap", THREE)], [("p-1", cid_of(ONE), True)]),
    Journal("a chain that does not begin", of("gap", TWO), [("p-1", cid_of(TWO), False)]),
    Journal("a second version without a link", of("gap", block(version=2))),
    Journal("the largest version", [*of("counts", ONE), *of("gap", event(2**64 - 1, ONE))]),
    Journal(
        "a gap after another aggregate's events",
        [*of("counts", ONE), *of("counts", *P2, key="p-2"), *of("gap", FOUR)],
    ),
    Journal(
        "an altered event counts, and what links to the one before it is void",
        [*of("counts", ONE, ALTERED), *of("void", THREE, FOUR)],
        [("p-1", cid_of(ALTERED), True), ("p-1", cid_of(FOUR), False)],
    ),
    Journal(
        "the only record of an event is not canonical",
        [*of("counts", ONE), *of("foreign", LONGER), *of("gap", THREE)],
    ),
    Journal(
        "a record that is not canonical beside the one that is",
        [*of("counts", ONE), *of("foreign", LONGER), *of("counts", TWO, THREE)],
        [("p-1", cid_of(LONGER), False), ("p-1", cid_of(THREE), True)],
    ),
    Journal(
        "a float of 16 bits in the place of a whole one",
        [*of("counts", FLOATS[0]), *of("foreign", SHORT), *of("counts", FLOATS[1], FLOATS[2])],
    ),
    Journal(
        "foreign is not void: what links to it leaves a gap",
        [
            *of("counts", ONE),
            *of("foreign", event(2, ONE, kind="agent")),
            *of("gap", event(3, event(2, ONE, kind="agent"))),
        ],
    ),
    Journal(
        "the wrong key",
        [
            *of("foreign", ONE, key="p-2"),
            *of("foreign", ONE, key=None),
            *of("counts", ONE),
            *of("foreign", TWO, key="p-2"),
        ],
        [("p-1", cid_of(ONE), True), ("p-1", cid_of(TWO), False)],
    ),
    Journal(
        "the wrong partition",
        [
            *of("counts", ONE),
            *of("foreign", *P3, key="p-3"),
            *of("foreign", event(7, P3[1], "p-3"), key="p-3"),
            *of("foreign", event(1, LOST[0], "p-3"), key="p-3"),
            *of("counts", TWO),
        ],
        [("p-1", cid_of(TWO), True), ("p-3", cid_of(P3[1]), False)],
        partitions=PARTITIONS,
    ),
    Journal("another partition of the same topic", of("counts", *P3, key="p-3"), partition=3, partitions=PARTITIONS),
    Journal(
        "ids in two normal forms are two aggregates",
        [
            *of("counts", COMPOSED[0], key="\u00c4"),
            *of("counts", DECOMPOSED[0], key="A\u0308"),
            *of("foreign", COMPOSED[1], key="A\u0308"),
            *of("counts", DECOMPOSED[1], key="A\u0308"),
            *of("counts", COMPOSED[1], key="\u00c4"),
        ],
        [("\u00c4", cid_of(COMPOSED[1]), True), ("\u00c4", cid_of(DECOMPOSED[1]), False)],
    ),
    Journal("a time that runs back plays no part", of("counts", ONE, EARLIER)),
    Journal("another kind's journal", of("counts", event(1, None, kind="agent")), kind="agent"),
    Journal("another kind's event", of("foreign", ONE), kind="agent"),
    Journal(
        "records that are nothing",
        [*of("foreign", None, b"", b"{}"), *of("foreign", b"?", key=None), *of("counts", ONE)],
    ),
]
