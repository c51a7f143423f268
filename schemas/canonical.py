"""Canonical DAG-CBOR: the only preimage of a CID.

libipld does the work. Its manners, which decide how it is used here (release 3.5, pinned by tests):

- encoding sorts map keys, but writes -0.0 as 0.0 and writes *bytes that look like a CID* as a link. So only JSON
  types and our own links may reach `encode`, and -0.0 is refused where commands are read;
- decoding refuses NaN, infinities, -0.0, indefinite lengths, unsorted and doubled keys, tags other than 42 and
  trailing bytes, but takes integers, lengths and tags that are longer than need be, and floats of 32 bits. So
  `decode` encodes again and compares;
- both recurse, and raise RecursionError a little beyond 1,000 levels, whatever the caller's own depth.
"""

from typing import Any

from libipld import decode_dag_cbor, encode_dag_cbor


class NotCanonicalError(ValueError):
    """The bytes are not the canonical DAG-CBOR encoding of a map."""


def encode(value: dict[str, Any]) -> bytes:
    """Return the canonical DAG-CBOR of a map of JSON types and links (36 bytes each).

    Raises:
        ValueError: a value has no encoding (another type, NaN, an infinity, a lone surrogate, an integer beyond
            64 bits).
    """
    block: bytes = encode_dag_cbor(value)
    return block


def decode(block: bytes) -> dict[str, Any]:
    """Return the map that a block encodes; links are bytes.

    Raises:
        NotCanonicalError: the block is no map in canonical DAG-CBOR; the message says what is wrong.
    """
    try:
        value = decode_dag_cbor(block)
    except (ValueError, RecursionError) as error:
        raise NotCanonicalError(f"not DAG-CBOR: {error}") from None
    if type(value) is not dict:
        raise NotCanonicalError(f"a block is a map, this is {type(value).__name__}")
    if encode_dag_cbor(value) != block:
        raise NotCanonicalError("encoded again it gives other bytes")
    return value
