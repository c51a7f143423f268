"""CIDs of blocks: CIDv1, codec dag-cbor, multihash BLAKE3-256; in text, multibase base32 lower case.

Inside the project a CID is its 36 bytes; the text form is for JSON, headers and people. Sources: the multiformats
CID specification, and the multicodec table for 0x71 (dag-cbor) and 0x1e (blake3).
"""

from typing import Final

from blake3 import blake3
from libipld import decode_multibase, encode_multibase

CID_PREFIX: Final = b"\x01\x71\x1e\x20"
"""CID version 1, codec dag-cbor, hash function blake3, digest of 32 bytes."""

CID_BYTES: Final = 36
CID_TEXT_CHARACTERS: Final = 59
_TEXT_PREFIX: Final = "bafyr4i"


def cid_of(block: bytes) -> bytes:
    """Return the 36 bytes of the CID of a block."""
    return CID_PREFIX + blake3(block).digest()


def is_cid(value: bytes) -> bool:
    """Whether the bytes are a CID of this project's form."""
    return len(value) == CID_BYTES and value.startswith(CID_PREFIX)


def cid_text(cid: bytes) -> str:
    """Return a binary CID's text form (``bafyr4i…``, 59 characters)."""
    text: str = encode_multibase("b", cid)
    return text


def parse_cid(text: str) -> bytes:
    """Return the 36 bytes of a CID in text form.

    Raises:
        ValueError: it is not the canonical text of a CIDv1 of this project's form; the message names what differs.
    """
    if not text.startswith(_TEXT_PREFIX):
        raise ValueError(f"a CID here begins with {_TEXT_PREFIX} (CIDv1, dag-cbor, BLAKE3-256, base32 in lower case)")
    if len(text) != CID_TEXT_CHARACTERS:
        raise ValueError(f"a CID here has {CID_TEXT_CHARACTERS} characters, this has {len(text)}")
    try:
        cid: bytes = decode_multibase(text)[1]
    except ValueError:
        cid = b""
    # 59 characters hold two bits more than 36 bytes, and a decoder may take capitals: one text only is canonical.
    if not is_cid(cid) or cid_text(cid) != text:
        raise ValueError("a CID here is canonical base32: a to z and 2 to 7, and no bit left over at its end")
    return cid
