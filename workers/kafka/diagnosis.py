"""Why no broker answers, or refuses: what aiokafka only logs, asked once more, and told with what to do."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from annals.agents.cancellation import is_task_cancelled
from annals.workers.kafka.connections import CLUSTER, words_of
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.workers.settings import Settings

WITHIN_S: Final = 3
SILENT_S: Final = 1.0  # without an answer to what any broker answers at once; beside a look's own time
_LOGIN: Final = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    IllegalSaslStateError,
)


def lacking_right(error: BaseException | None, on_topics: str) -> str | None:
    """Say which right the user lacks; None where that is not what is wrong. on_topics: what was tried with topics."""
    told = error.args[0] if error is not None and error.args else ""
    match error:
        case TopicAuthorizationFailedError():
            return f"the user needs {on_topics} on the topic: {told}"
        case TransactionalIdAuthorizationFailed():
            return f"the user needs Write on the transactional id: {told}"
        case GroupAuthorizationFailedError():
            return f"the user needs Read on the group: {told}"
        case _:
            return None


def right_or_words(error: BaseException, on_topics: str) -> str:
    """Say which right the user lacks, or what else is wrong. on_topics: as of `lacking_right`."""
    return lacking_right(error, on_topics) or words_of(error)


async def no_answer(client: AIOKafkaClient | None, options: Mapping[str, Any], error: BaseException) -> str:
    """Say which brokers do not answer, by id and address: of several, mostly one; or that they refuse the login.

    client: one that knows them, and asks each at once; None: it was not connected. options: of a client.
    """
    servers = options["bootstrap_servers"]
    brokers = [] if client is None else sorted(client.cluster.brokers(), key=lambda each: each.nodeId)
    what = f"no answer from the Kafka brokers at {servers}: {type(error).__name__}"
    if client is None or len(brokers) < 2:  # who is the only one needs no other name
        return await _refused(options) or what
    answers = await asyncio.gather(*(_is_answering(client, each.nodeId) for each in brokers))
    silent = [each for each, is_there in zip(brokers, answers, strict=True) if not is_there]
    if not silent:
        return f"the Kafka brokers at {servers} answer, and not to everything: {words_of(error)}"
    if len(silent) == len(brokers):
        return await _refused(options) or what
    named = ", ".join(f"{each.nodeId} at {each.host}:{each.port}" for each in silent)
    return f"no answer from Kafka broker {named} ({len(brokers) - len(silent)} of {len(brokers)} answer)"


async def _refused(options: Mapping[str, Any]) -> str | None:
    """Say that a broker refuses the login, or TLS, with what to do; None where no one of them says so at once."""
    if CLUSTER in options:
        return None
    connecting = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    try:
        async with asyncio.timeout(SILENT_S):
            for server in options["bootstrap_servers"].split(","):
                try:
                    await _brokers(server, connecting)
                except _LOGIN as error:
                    return f"{_told(error, server, options)}, which are read when a worker starts"
                except ssl.SSLError as error:
                    return _told(error, server, options)
                except (KafkaError, OSError):
                    continue
    except (TimeoutError, asyncio.CancelledError):
        if is_task_cancelled():
            raise
    return None


async def _is_answering(client: AIOKafkaClient, node: int) -> bool:
    try:
        async with asyncio.timeout(SILENT_S):
            await client.send(node, MetadataRequest([]))
    except (KafkaError, OSError, TimeoutError, AssertionError, asyncio.CancelledError):
        if is_task_cancelled():
            raise
        return False
    return True


async def why_unreachable(settings: Settings) -> str:
    """Return why the brokers do not answer as they should: at the first address that was given, or behind it."""
    server, given = settings.bootstrap_servers.split(",")[0], client_options(settings)
    options = {name: value for name, value in given.items() if name != "bootstrap_servers"}
    try:
        async with asyncio.timeout(WITHIN_S):
            brokers = await _brokers(server, options)
    except (KafkaError, OSError, TimeoutError, asyncio.CancelledError) as error:
        if is_task_cancelled():
            raise
        return _told(error, server, given)
    for broker in brokers:
        try:
            async with asyncio.timeout(WITHIN_S):
                await _brokers(broker, options)
        except (KafkaError, OSError, TimeoutError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            if broker != server:
                return (
                    f"a Kafka broker answers at {server}, and names {broker} as the address of a broker, where nothing "
                    f"can be asked ({_words(error)}): look whether that broker runs, and let its advertised.listeners "
                    f"name an address that is reached from here"
                )
    return (
        f"no Kafka broker answers at {settings.bootstrap_servers} (one answers, but not always): try again later, or "
        "look at the brokers"
    )


async def _brokers(server: str, options: dict[str, Any]) -> list[str]:
    """Ask a broker for the addresses of all."""
    host, _, port = server.rpartition(":")
    connection = await create_conn(host.strip("[]"), int(port), **options)
    try:
        metadata = await connection.send(MetadataRequest([]))
    finally:
        connection.close()
    return [f"{host}:{port}" for _, host, port, *_ in metadata.brokers]


def _told(error: BaseException, server: str, options: Mapping[str, Any]) -> str:
    protocol = options["security_protocol"]
    if isinstance(error, _LOGIN):
        return (
            f"the Kafka broker at {server} refuses the login ({_words(error)}): check ANNALS_SASL_USERNAME, "
            f"ANNALS_SASL_PASSWORD and ANNALS_SASL_MECHANISM"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"no TLS connection to the Kafka broker at {server} ({_words(error)}): check ANNALS_SSL_CAFILE, "
            f"ANNALS_SSL_CERTFILE and ANNALS_SSL_KEYFILE, and whether this listener speaks TLS "
            f"(ANNALS_SECURITY_PROTOCOL is {protocol})"
        )
    if isinstance(error, KafkaError | ConnectionResetError | asyncio.CancelledError):
        return (
            f"something listens at {server} and closes the connection ({_words(error)}): its listener may have another "
            f"protocol than ANNALS_SECURITY_PROTOCOL, which is {protocol}, want a client certificate "
            f"(ANNALS_SSL_CERTFILE), or be no Kafka broker's"
        )
    if isinstance(error, TimeoutError):
        return (
            f"no Kafka broker answers at {server} (it does not answer in time): check ANNALS_BOOTSTRAP_SERVERS, the "
            f"network, and whether the listener's protocol is ANNALS_SECURITY_PROTOCOL, which is {protocol}"
        )
    return (
        f"no Kafka broker answers at {options['bootstrap_servers']} ({_words(error)}): start one with `annals broker`, "
        "or set ANNALS_BOOTSTRAP_SERVERS and the connection settings"
    )


def _words(error: BaseException) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"<[^>]*>", "", words).strip(" :")
