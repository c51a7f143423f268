"""JSON that is nested too deeply is unreadable, and nothing worse, wherever somebody else may have written it."""

import msgspec
import pytest

from annals.schemas.ack import read_ack
from annals.schemas.delivery import decode_row
from annals.schemas.depth import decoded
from annals.schemas.job_record import decode_job
from annals.schemas.outcome import decode_outcome
from annals.schemas.progress import decode_progress
from annals.schemas.projection_record import decode_record
from annals.schemas.reaction_rows import parse_row_key, process_of
from annals.schemas.settlement import SETTLEMENT_KEY, parse_settlement
from annals.workers.publishing.subscriptions_topic import subscription_of

DEEP = b'{"a":' * 20_000
TIMER = b'["timer","w-1","","late"]'
DECODERS = {
    "deliveries": lambda value: decode_row(b"person/p-1", value),
    "progress": decode_progress,
    "jobs": lambda value: decode_job(b"x", value.replace(b"a", b"request", 1)),
    "projections": lambda value: decode_record(b"x", value),
    "subscriptions": lambda value: subscription_of(b"x", value),
    "audit": lambda value: parse_settlement(SETTLEMENT_KEY, value),
    "outcomes": decode_outcome,
    "timers": lambda value: process_of(TIMER, value),
    "states": lambda value: process_of(b'["state","w-1",""]', value),
    "keys of timers": lambda _: parse_row_key(b"[" * 20_000),
}


@pytest.mark.parametrize("topic", DECODERS)
def test_a_record_that_is_nested_too_deeply_is_a_wrong_one(topic):
    with pytest.raises(ValueError, match=r"."):
        DECODERS[topic](DEEP)


def test_an_answer_that_is_nested_too_deeply_says_what_is_wrong():
    assert isinstance(read_ack(DEEP), list)


def test_what_else_a_decoder_says_stays():
    with pytest.raises(msgspec.DecodeError):
        decoded(msgspec.json.decode, b"{")
    assert decoded(msgspec.json.decode, b"[1]") == [1]
