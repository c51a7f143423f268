"""The fast way to read an answer finds what the careful one finds, or leaves it to that."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.schemas import ack as of_acks
from annals.schemas.ack import Ack, parse_ack, read_ack
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.wire.strict_json import NotJsonError, parse_strict

CID = cid_text(cid_of(b"an event"))
TEXTS = st.text(max_size=8) | st.sampled_from(["$", "cid", '"cid"', "ack", "\\", "\x7f", "\ud800", CID])
NUMBERS = st.integers(-2, 3) | st.sampled_from([0.0, -0.0, 1.0, 2**53, 2**53 + 1, 2**64]) | st.booleans() | st.none()
MEMBERS = st.fixed_dictionaries(
    {"cid": st.just(CID) | TEXTS, "verdict": st.sampled_from(["ack", "nack", "park", "extend", "no"])},
    optional={
        "attempt": NUMBERS,
        "reason": TEXTS | st.none(),
        "delay_ms": NUMBERS,
        "up_to": st.booleans() | st.none(),
        "kind": TEXTS | st.none(),
        "more": TEXTS,
    },
)


def carefully(value):
    try:
        body, faults = parse_strict(value)
    except NotJsonError as error:
        return [("", str(error))]
    if not isinstance(body, dict):
        return [("", "must be an object")]
    return list(faults) or parse_ack(body)


@given(MEMBERS, st.booleans(), st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=3)))
def test_both_ways_find_the_same(members, is_ascii, change):
    value = json.dumps(members, ensure_ascii=is_ascii, separators=(",", ":")).encode(errors="surrogatepass")
    if change is not None:
        at, put = change
        value = value[:at] + put + value[at + len(put) :]
    assert read_ack(value) == carefully(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"cid":"%s","verdict":"nack","verdict":"ack"}',
        '{"cid":"%s","verdict":"nack","\\u0076erdict":"ack"}',
        '{"cid":"%s","verdict":"ack","attempt":1,"attempt":2}',
        '{"cid":"%s","verdict":"ack","delay_ms":-0}',
        '{"cid":"%s","verdict":"ack"} {}',
        ' {"verdict" : "ack", "cid":\t"%s"}\n',
        '["%s"]',
    ],
)
def test_both_ways_find_the_same_in_what_no_encoder_writes(text):
    value = (text % CID).encode()
    assert read_ack(value) == carefully(value)


def test_an_ordinary_answer_is_read_the_fast_way(monkeypatch):
    def refuse(value):
        raise AssertionError(value)

    monkeypatch.setattr(of_acks, "parse_strict", refuse)
    said = {"cid": CID, "verdict": "nack", "attempt": 2, "reason": "é: 'no'", "delay_ms": 5}
    value = json.dumps(said, ensure_ascii=False).encode()
    assert read_ack(value) == Ack(CID, "nack", 2, said["reason"], 5)
