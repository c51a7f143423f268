"""Send commands, await their outcomes, and read events that count: what a producer and a consumer import.

Loads neither Faust nor RocksDB.
"""

from annals.schemas.commands import NewCommand, command
from annals.schemas.outcome import ACCEPTED, DUPLICATE, REJECTED, VERSION_CONFLICT, Outcome
from annals.workers.client import CommandClient, NoAnswerError, NotSendableError
from annals.workers.client.history import history
from annals.workers.clock import new_id
from annals.workers.settings import Settings, client_options, load_settings

__all__ = [
    "ACCEPTED",
    "DUPLICATE",
    "REJECTED",
    "VERSION_CONFLICT",
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
