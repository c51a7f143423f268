"""Send commands, await their outcomes, read events that count, and ask the API: what producers and consumers import.

Names are imported when they are first used, so that a producer loads neither Faust nor RocksDB, and aiokafka only once
it connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals._lazy import getter

if TYPE_CHECKING:
    from annals.schemas.commands import NewCommand, command
    from annals.schemas.outcome import ACCEPTED, DUPLICATE, REJECTED, VERSION_CONFLICT, Outcome
    from annals.workers.client import CommandClient, NoAnswerError, NotSendableError
    from annals.workers.client.api_client import ApiClient, ApiError
    from annals.workers.client.history import history
    from annals.workers.clock import new_id
    from annals.workers.settings import Settings, client_options, load_settings

__all__ = [
    "ACCEPTED",
    "DUPLICATE",
    "REJECTED",
    "VERSION_CONFLICT",
    "ApiClient",
    "ApiError",
    "CommandClient",
    "NewCommand",
    "NoAnswerError",
    "NotSendableError",
    "Outcome",
    "Settings",
    "client_options",
    "command",
    "history",
    "load_settings",
    "new_id",
]

_HOMES: Final = {
    "ACCEPTED": "annals.schemas.outcome",
    "DUPLICATE": "annals.schemas.outcome",
    "REJECTED": "annals.schemas.outcome",
    "VERSION_CONFLICT": "annals.schemas.outcome",
    "ApiClient": "annals.workers.client.api_client",
    "ApiError": "annals.workers.client.api_client",
    "CommandClient": "annals.workers.client",
    "NewCommand": "annals.schemas.commands",
    "NoAnswerError": "annals.workers.client",
    "NotSendableError": "annals.workers.client",
    "Outcome": "annals.schemas.outcome",
    "Settings": "annals.workers.settings",
    "client_options": "annals.workers.settings",
    "command": "annals.schemas.commands",
    "history": "annals.workers.client.history",
    "load_settings": "annals.workers.settings",
    "new_id": "annals.workers.clock",
}

__getattr__ = getter(__name__, _HOMES, globals())
