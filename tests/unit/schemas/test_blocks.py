"""Blocks and CIDs: what is canonical, by libipld's manners and by another language's word."""

import json
from pathlib import Path
from typing import Any

import dag_cbor
import libipld
import pytest
from multiformats import CID

from annals.schemas.canonical import NotCanonicalError, decode, encode
from annals.schemas.chain import MEMBERS, read_block, seal
from annals.schemas.cid import CID_BYTES, CID_PREFIX, cid_of, cid_text, is_cid, parse_cid

LINK = CID_PREFIX + bytes(range(32))
NODE_BLOCKS = json.loads((Path(__file__).parents[2] / "golden" / "node_blocks.json").read_text())["blocks"]


def _event(block: dict[str, str]) -> dict[str, Any]:
    """The event as Node had it, its link as bytes."""
    event: dict[str, Any] = json.loads(block["event"])
    if event["previous"] is not None:
        event["previous"] = parse_cid(event["previous"]["/"])
    return event


@pytest.mark.parametrize("block", NODE_BLOCKS, ids=lambda block: block["name"])
def test_an_event_is_sealed_to_the_bytes_and_the_cid_that_node_makes(block: dict[str, str]) -> None:
    value, cid = seal(**_event(block))
    assert value.hex() == block["hex"]
    assert cid_text(cid) == block["cid"]


@pytest.mark.parametrize("block", NODE_BLOCKS, ids=lambda block: block["name"])
def test_a_block_made_by_node_is_read_as_what_it_was_made_of(block: dict[str, str]) -> None:
    event = read_block("person", bytes.fromhex(block["hex"]))
    assert event == _event(block)
    assert tuple(event) == MEMBERS


@pytest.mark.parametrize("block", NODE_BLOCKS, ids=lambda block: block["name"])
def test_a_block_made_by_node_is_the_one_that_dag_cbor_makes(block: dict[str, str]) -> None:
    event = _event(block)
    if event["previous"] is not None:
        event["previous"] = CID.decode(event["previous"])
    assert dag_cbor.encode(event).hex() == block["hex"]


@pytest.mark.parametrize(
    ("what", "block"),
    {
        "an integer longer than need be": "a161611801",
        "a length longer than need be": "a17801616101",
        "a float of 16 bits": "a16161f93c00",
        "a float of 32 bits": "a16161fa3f800000",
        "NaN": "a16161fb7ff8000000000000",
        "an infinity": "a16161fb7ff0000000000000",
        "negative zero": "a16161fb8000000000000000",
        "a list of indefinite length": "a161619f01ff",
        "a map of indefinite length": "bf616101ff",
        "text of indefinite length": "a161617f6161ff",
        "bytes of indefinite length": "a161615f4161ff",
        "names in the wrong order": "a2616201616101",
        "names in the order of bytes alone": "a262616101616202",
        "a name twice": "a2616101616102",
        "a name that is no text": "a10101",
        "trailing bytes": "a16161 01 01",
        "a cut-off end": "a16161",
        "another tag than 42": "a16161c101",
        "a bignum": "a16161c249010000000000000000",
        "undefined": "a16161f7",
        "a simple value": "a16161f8ff",
        "text that is no UTF-8": "a1616161ff",
        "a list that claims more than there is": "a161619bffffffffffffffff",
        "text that claims more than there is": "a161617bffffffffffffffff",
        "a link that is no bytes": "a16161d82a6161",
        "a link without its leading zero": "a16161d82a5824" + LINK.hex(),
        "a link with a longer tag": "a16161d9002a582500" + LINK.hex(),
        "a link with a longer length": "a16161d82a59002500" + LINK.hex(),
        "bytes that look like a link": "a161615824" + LINK.hex(),
        "no map but a list": "8101",
        "no map but text": "6161",
        "nothing": "",
        "a reserved length": "a161611c",
        "a lone break": "ff",
    }.items(),
)
def test_what_is_not_canonical_is_refused(what: str, block: str) -> None:
    with pytest.raises(NotCanonicalError):
        decode(bytes.fromhex(block))


def test_nesting_beyond_the_stack_is_refused_and_not_an_error_of_its_own() -> None:
    with pytest.raises(NotCanonicalError, match="recursion"):
        decode(b"\xa1\x61a" + b"\x81" * 100_000 + b"\xf6")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, -(2**64) - 1, "\ud800", (1,), {1}, object()])
def test_what_has_no_encoding_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="encode DAG-CBOR"):
        encode({"a": value})


@pytest.mark.parametrize(
    "value", [0, -1, 2**63, 2**64 - 1, -(2**63), -(2**64), 1.0, 5e-324, None, True, "", [], {}, LINK]
)
def test_what_is_encoded_decodes_to_the_same_value_of_the_same_type(value: Any) -> None:
    decoded = decode(encode({"a": value}))["a"]
    assert (decoded, type(decoded)) == (value, type(value))


def test_libipld_still_has_the_manners_that_the_code_is_built_around() -> None:
    """When this goes red, a new release is stricter or laxer: read `schemas/canonical.py` again, then change both."""
    assert libipld.encode_dag_cbor(-0.0) == libipld.encode_dag_cbor(0.0)
    assert libipld.encode_dag_cbor(LINK)[:5].hex() == "d82a582500"
    assert libipld.decode_dag_cbor(bytes.fromhex("fa3f800000")) == 1.0
    assert libipld.decode_dag_cbor(bytes.fromhex("1801")) == 1
    with pytest.raises(RecursionError):
        libipld.decode_dag_cbor(b"\x81" * 2_000 + b"\xf6")


def test_the_text_of_a_cid_is_read_back() -> None:
    text = cid_text(LINK)
    assert text.startswith("bafyr4i")
    assert parse_cid(text) == LINK
    assert len(LINK) == CID_BYTES


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with bafyr4i"),
        (cid_text(LINK).upper(), "begins with bafyr4i"),
        ("bafkr4i" + cid_text(LINK)[7:], "begins with bafyr4i"),
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "begins with bafyr4i"),
        (cid_text(LINK)[:-1], "59 characters, this has 58"),
        (cid_text(LINK) + "=", "59 characters, this has 60"),
        (cid_text(LINK)[:-2] + "1a", "a to z and 2 to 7, and"),
        (cid_text(LINK)[:-2] + "Aa", "a to z and 2 to 7, and"),
        (cid_text(LINK)[:-2] + "ää", "a to z and 2 to 7, and"),
        (cid_text(LINK)[:-1] + "b", "no bit left over"),
    ],
)
def test_what_is_not_the_one_text_of_a_cid_is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_cid(text)


@pytest.mark.parametrize(
    "cid", [b"", LINK[:-1], LINK + b"\0", b"\x01\x55\x12\x20" + bytes(32), b"\x12\x20" + bytes(32)]
)
def test_other_bytes_are_no_cid_of_ours(cid: bytes) -> None:
    assert not is_cid(cid)


def test_the_cid_of_a_block_is_the_hash_of_its_bytes() -> None:
    assert is_cid(cid_of(b""))
    assert cid_of(b"").hex() == "01711e20af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
