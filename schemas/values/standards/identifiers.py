"""Identifiers that carry their own proof: legal entities, content (CIDv1), licences and https addresses."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

from libipld import decode_multibase, encode_multibase

from annals.schemas.values.standards.licenses import LICENSES

LICENSE_REF: Final = "LicenseRef-[A-Za-z0-9.-]+"
_LICENSE_REF: Final = re.compile(LICENSE_REF)
_CID_VERSION: Final = 1
_LONGEST_DIGEST_BYTES: Final = 128  # multihash's own tools stop there; the longest one in use has 64

_PCHAR: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
URL: Final = (
    r"[Hh][Tt][Tt][Pp][Ss]://(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]*))?"
    rf"(?:/{_PCHAR}*)*(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)
_URL: Final = re.compile(URL)


def without_names(pattern: str) -> str:
    """A pattern without its groups' names: Python writes them otherwise than JSON Schema (ECMA 262)."""
    return re.sub(r"\(\?P<[a-z]+>", "(?:", pattern)


def lei_problem(text: str) -> str | None:
    """What is wrong with 20 characters that look like an LEI: its check digits (ISO 17442, by ISO 7064 MOD 97-10)."""
    return None if int("".join(str(int(c, 36)) for c in text)) % 97 == 1 else "has wrong check digits (ISO 17442)"


def license_problem(text: str) -> str | None:
    """What is wrong with a licence: neither an SPDX identifier nor a `LicenseRef-…` (SPDX 2.3, annex D)."""
    if text in LICENSES or _LICENSE_REF.fullmatch(text):
        return None
    return "is neither an SPDX licence id nor LicenseRef-…"


def url_problem(text: str) -> str | None:
    """What is wrong with an https address (RFC 3986). User information is refused: a journal keeps no passwords."""
    found = _URL.fullmatch(text)
    if found is None:
        return "is no https address (RFC 3986, without user information)"
    host = found["host"]
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            return "has no IPv6 address between its brackets (RFC 3986)"
    return None


def cid_problem(text: str) -> str | None:
    """What is wrong with a content identifier: not CIDv1 in canonical lower-case base32, or not whole."""
    try:
        base, raw = decode_multibase(text)
    except ValueError:
        return "is no CIDv1 in base32"
    if base != "b" or encode_multibase("b", raw) != text:
        return "is no CIDv1 in canonical lower-case base32"
    if len(raw) > 4 and raw[0] == _CID_VERSION and max(raw[1:4]) < 0x80 and raw[3] == len(raw) - 4:
        return None  # codec, hash and length of one byte each, as nearly all have
    try:
        version, rest = _varint(raw)
        _codec, rest = _varint(rest)
        _hash, rest = _varint(rest)
        length, rest = _varint(rest)
    except ValueError as wrong:
        return f"is no CIDv1: {wrong}"
    if version != _CID_VERSION:
        return f"is no CIDv1: its version is {version}"
    if length > _LONGEST_DIGEST_BYTES or len(rest) != length:
        return "is no CIDv1: its digest is cut off or too long"
    return None


def _varint(raw: bytes) -> tuple[int, bytes]:
    """An unsigned varint of multiformats (at most 9 bytes, the shortest form) and what follows it."""
    value = 0
    for place, byte in enumerate(raw[:9]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if byte == 0 and place:
                raise ValueError("a number is not in its shortest form")
            return value, raw[place + 1 :]
    raise ValueError("a number is cut off or too long")
