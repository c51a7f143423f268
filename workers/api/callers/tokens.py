"""`ANNALS_API_TOKENS_FILE`: who has which token, of which the file has the SHA-256 alone."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from annals.workers.api.callers.watched import WatchedFile
from annals.workers.api.http.routing import Principal

if TYPE_CHECKING:
    from pathlib import Path

HASH: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z0-9._@:/-]{1,128}", re.ASCII)
SCOPE: Final = re.compile(r"read|write|admin|acks:[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


class TokensFile:
    """Knows the tokens of a file, which is read again within seconds of a change."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SettingsError: it cannot be used.
        """
        self._file = WatchedFile("ANNALS_API_TOKENS_FILE", path, parse)

    async def refresh(self) -> None:
        """Return when the file was looked at within the last seconds."""
        await self._file.refresh()

    def find(self, token: str) -> Principal | None:
        """Return whose token this is; None: nobody's. Takes as long for any token."""
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, principal in self._file.value:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def parse(text: str) -> list[tuple[bytes, Principal]]:
    """Return the tokens' hashes and whose they are.

    Raises:
        ValueError: a line is wrong; the message has its number, not what it says.
    """
    known: dict[bytes, Principal] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or not HASH.fullmatch(words[0]) or not NAME.fullmatch(words[1]):
            raise ValueError(f"line {number} is not `<SHA-256 of the token in hex> <name> <scope,scope>`")
        scopes = words[2].split(",")
        if not all(SCOPE.fullmatch(scope) for scope in scopes):
            raise ValueError(f"line {number}: the scopes are read, write, admin and acks:<name>, with commas between")
        digest = bytes.fromhex(words[0])
        if digest in known:
            raise ValueError(f"line {number} has the token of another line")
        known[digest] = Principal(words[1], frozenset(scopes))
    return list(known.items())
