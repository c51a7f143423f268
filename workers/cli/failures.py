"""What an operator is told when something could not be asked: one line each, with what to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.workers.cli.output import OutputError
from annals.workers.settings import SettingsError

if TYPE_CHECKING:
    from annals.workers.settings import Settings

DONE: Final = 0
ANSWER_IS_NO: Final = 1
COULD_NOT_ASK: Final = 2

NO: Final = frozenset({404, 409, 412, 422})
"""Statuses of HTTP by which the answer is no: there is none, what is there forbids it, or what is wanted cannot be."""


def status_of(http_status: int) -> int:
    """Return the exit status of a command that was refused with a status of HTTP, 0 for no answer.

    Who may not ask (401, 403), asks in a wrong way (400), too often (429) or too early (503) has had no answer.
    """
    return ANSWER_IS_NO if http_status in NO else COULD_NOT_ASK


class CannotAskError(Exception):
    """A command could not do its work for a reason that the operator can change; the message says which."""


def described(error: Exception) -> tuple[str, ...] | None:
    """Return the lines that say what is wrong; None for what nobody outside can mend, which deserves its traceback."""
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, CannotAskError | OutputError):
        return (str(error),)
    # Imported only now: a command that does not talk to Kafka starts without it.
    from aiokafka.errors import KafkaConnectionError, KafkaError

    from annals.workers.kafka.admin.cluster import BrokersUnreachableError, NotPermittedError
    from annals.workers.registry import RegistrationError
    from annals.workers.tools.broker.errors import BrokerError
    from annals.workers.tools.scaffold.errors import ScaffoldError

    if isinstance(error, BrokerError | BrokersUnreachableError | NotPermittedError | RegistrationError | ScaffoldError):
        return (str(error),)
    if isinstance(error, KafkaConnectionError):
        what_to_do = "start one with `annals broker`, or set ANNALS_BOOTSTRAP_SERVERS"
        return (f"no Kafka broker answers ({_plain(error)}): {what_to_do}",)
    if isinstance(error, KafkaError):
        return (f"Kafka said no: {error}",)
    if isinstance(error, OSError):  # a full disk, a file that may not be read
        where = "" if error.filename is None else f"{error.filename}: "
        return (f"{where}{error.strerror or str(error) or type(error).__name__}",)
    return None


def explained(error: Exception, settings: Settings) -> Exception:
    """Return the error that says why no broker answers, where that is what an error means; else the error itself."""
    # Imported only now: a command that does not talk to Kafka starts without it.
    from aiokafka.errors import KafkaConnectionError

    from annals.workers.kafka.admin.cluster import BrokersUnreachableError
    from annals.workers.kafka.diagnosis import why_unreachable

    if not isinstance(error, KafkaConnectionError):
        return error
    return BrokersUnreachableError(asyncio.run(why_unreachable(settings)))


def _plain(error: Exception) -> str:
    """Return what aiokafka says, with the class that says it."""
    from annals.workers.kafka.connections import words_of

    return f"{type(error).__name__}: {words_of(error)}"
