"""Signatures of Standard Webhooks: HMAC-SHA256 over id, time and body, one for each secret."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX: Final = "whsec_"
SHORTEST: Final = 24
LONGEST: Final = 64


def parse_secret(text: str) -> bytes:
    """Return the key of a secret in its usual form, `whsec_` and base64.

    Raises:
        ValueError: it is none; the message does not show it.
    """
    try:
        key = b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64, with or without whsec_ before it") from None
    if not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"must be the base64 of {SHORTEST} to {LONGEST} bytes")
    return key


def signature_headers(webhook_id: str, seconds: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the headers that prove who sent a body, and when; with two keys either proves it."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), seconds, body)
    signatures = (b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
