"""Which records of answers are answers, are moved, are dead letters or are for others."""

import pytest

from annals.agents.publishing.delivering.answers import Answered, Reader
from annals.agents.publishing.delivering.machine import Answer
from annals.agents.publishing.delivering.ports import AckRecord, DeadAck
from annals.schemas.ack import LARGEST_BYTES
from annals.topics.headers import forwarded_headers
from annals.topics.keys import partition_of

CID = "bafyr4iaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaae"
HOME = partition_of(b"p-1", 4)
GOOD = b'{"cid": "%s", "verdict": "ack"}' % CID.encode()


def read(value=GOOD, key=b"p-1", *, partition=HOME, headers=(), tidies=True):
    reader = Reader("person", partition, 4, is_first_kind=tidies)
    return reader.read(AckRecord(7, key, value, headers))


def test_an_answer_in_its_own_partition_is_one():
    assert read() == Answered("p-1", Answer(CID, 1, "ack"))
    assert read(GOOD[:-1] + b', "kind": "person"}') == Answered("p-1", Answer(CID, 1, "ack"))
    assert read(GOOD[:-1] + b', "kind": "agent"}') is None


def test_a_misplaced_one_is_moved_once_by_one_kind():
    elsewhere = (HOME + 1) % 4
    moved = read(partition=elsewhere)
    assert isinstance(moved, AckRecord)
    assert read(partition=elsewhere, tidies=False) is None
    copy = forwarded_headers([], elsewhere, 7)
    assert isinstance(read(headers=copy), Answered)
    assert isinstance(read(partition=elsewhere, headers=copy), DeadAck)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        GOOD[:-1] + b', "x": 1}',
        GOOD[:-1] + b', "attempt": 0}',
        b'{"cid": "x", "verdict": "ack"}',
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_of_one_kind(value):
    assert isinstance(read(value), DeadAck)
    assert read(value, tidies=False) is None


def test_one_that_is_larger_than_any_answer_needs_is_not_looked_into():
    assert read(GOOD.ljust(LARGEST_BYTES)) == Answered("p-1", Answer(CID, 1, "ack"))
    dead = read(GOOD.ljust(LARGEST_BYTES + 1))
    assert isinstance(dead, DeadAck)
    assert dead.message == "must be at most 16,384 bytes"


def test_a_key_is_needed_and_is_text():
    assert isinstance(read(key=None), DeadAck)
    not_text = next(bytes([255, each]) for each in range(256) if partition_of(bytes([255, each]), 4) == HOME)
    assert isinstance(read(key=not_text), DeadAck)
