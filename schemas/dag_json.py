"""Events as DAG-JSON, as `annals events` prints them and the API answers them."""

import json
from typing import Any

import orjson

from annals.schemas.cid import cid_text


def encode(document: Any) -> bytes:
    """Return JSON types as JSON: integers up to 2^64-1 and floats exactly, however deep."""
    try:
        return orjson.dumps(document)
    except TypeError:  # data that nest beyond what orjson writes
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def event_json(event: dict[str, Any], cid: bytes, partition: int, offset: int) -> bytes:
    """Return a block's map as DAG-JSON, with members `cid`, `partition` and `offset` beside its own."""
    previous = event["previous"]
    return encode(
        {
            **event,
            "previous": None if previous is None else {"/": cid_text(previous)},
            "cid": cid_text(cid),
            "partition": partition,
            "offset": offset,
        }
    )
