"""What a worker had of a group when it was last told, so that it goes on with these stores when it is started again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from annals.schemas.depth import decoded
from annals.workers.kafka.group.assignor import Owned

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "assigned.json"
_OWNED: Final = msgspec.json.Decoder(Owned)


class LastAssignment:
    """A file beside the stores of a role: partitions by topic, of an owner or a standby. A hint, which may be lost."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the role's stores."""
        self._path = folder / FILE

    def read(self) -> Owned:
        """Return what this worker had last; nothing where that cannot be read."""
        try:
            return decoded(_OWNED.decode, self._path.read_bytes())
        except (OSError, ValueError):
            return {}

    def write(self, *assigned: Owned) -> None:
        """Keep what this worker has from now on."""
        had: dict[str, set[int]] = {}
        for owned in assigned:
            for topic, partitions in owned.items():
                had.setdefault(topic, set()).update(partitions)
        with suppress(OSError):  # the stores say it where it matters
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(msgspec.json.encode({topic: sorted(had[topic]) for topic in sorted(had)}))
