"""`ANNALS_WEBHOOK_SECRETS_DIR`: secrets by name, a file each. What is in them is in no topic, log or answer."""

from __future__ import annotations

import re
import stat
import time
from typing import TYPE_CHECKING, Final

from annals.agents.publishing.webhooks.signatures import parse_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NAME: Final = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
KEPT_S: Final = 5.0
LARGEST_BYTES: Final = 4 << 10
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH


class SecretUnusableError(Exception):
    """There is no such secret, or it cannot be read: which of the two is not for those who ask."""


class SecretFolder:
    """Reads secrets; a file that changed is used within seconds."""

    def __init__(self, folder: Path | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the folder; None: there are no secrets."""
        self._folder = folder
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, bytes]] = {}

    def has(self, name: str) -> bool:
        """Whether a secret can be used now."""
        try:
            self._read(name)
        except SecretUnusableError:
            return False
        return True

    def keys(self, names: Sequence[str]) -> list[bytes]:
        """Return the keys to sign with.

        Raises:
            SecretUnusableError: one cannot be used.
        """
        return [self._key(name) for name in names]

    def _key(self, name: str) -> bytes:
        now = self._monotonic()
        kept = self._kept.get(name)
        if kept is None or now - kept[0] >= KEPT_S:
            self._kept.pop(name, None)
            self._kept[name] = kept = now, self._read(name)
        return kept[1]

    def _read(self, name: str) -> bytes:
        why = SecretUnusableError(f"secret {name!r} cannot be used: see ANNALS_WEBHOOK_SECRETS_DIR")
        if self._folder is None or not NAME.fullmatch(name):
            raise why
        path = self._folder / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_mode & WRITABLE or status.st_size > LARGEST_BYTES:
                raise why
            return parse_secret(path.read_bytes()[:LARGEST_BYTES].decode("ascii"))
        except (OSError, ValueError):
            raise why from None
