"""What is encoded is canonical by two other implementations' word, and decodes to what it was."""

import contextlib
from typing import Any

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID, multihash

from annals.schemas.canonical import NotCanonicalError, decode, encode
from annals.schemas.cid import CID_PREFIX, cid_of, cid_text, parse_cid

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: str(number) != "-0.0"
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=25,
)
MAPS = st.dictionaries(TEXT, JSON, max_size=6)
LINKS = st.binary(min_size=32, max_size=32).map(lambda digest: CID_PREFIX + digest)


@given(MAPS)
def test_what_is_decoded_from_a_block_is_what_was_sent(value: Any) -> None:
    decoded = decode(encode(value))
    assert decoded == value
    assert repr(decoded) == repr(decode(encode(decoded)))


@given(st.dictionaries(TEXT, NUMBERS, max_size=6))
def test_an_integer_stays_one_and_a_float_stays_one(value: Any) -> None:
    decoded = decode(encode(value))
    assert {name: type(number) for name, number in decoded.items()} == {
        name: type(number) for name, number in value.items()
    }


@given(MAPS)
def test_a_block_is_canonical_by_the_word_of_dag_cbor(value: Any) -> None:
    assert encode(value) == dag_cbor.encode(value)


@given(MAPS, LINKS)
def test_a_link_is_encoded_as_dag_cbor_encodes_a_cid(value: Any, link: bytes) -> None:
    assert encode({**value, "link": link}) == dag_cbor.encode({**value, "link": CID.decode(link)})


@given(st.binary(max_size=200))
def test_a_cid_is_the_one_that_multiformats_makes(block: bytes) -> None:
    cid = CID("base32", 1, "dag-cbor", multihash.wrap(cid_of(block)[4:], "blake3"))
    assert cid_of(block) == bytes(cid)
    assert cid_text(cid_of(block)) == str(cid)
    assert parse_cid(str(cid)) == bytes(cid)


@given(st.binary(max_size=60))
def test_bytes_are_either_refused_or_encode_to_themselves(block: bytes) -> None:
    try:
        value = decode(block)
    except NotCanonicalError:
        return
    assert encode(value) == block


@given(MAPS.filter(bool), st.data())
def test_one_changed_bit_is_another_value_or_no_block(value: Any, data: st.DataObject) -> None:
    block = bytearray(encode(value))
    bit = data.draw(st.integers(0, len(block) * 8 - 1))
    block[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(NotCanonicalError):
        assert repr(decode(bytes(block))) != repr(decode(encode(value)))


@given(st.text(max_size=70))
def test_text_is_refused_as_a_cid_unless_it_is_its_one_text(text: str) -> None:
    with pytest.raises(ValueError, match="a CID here"):
        parse_cid(text)
