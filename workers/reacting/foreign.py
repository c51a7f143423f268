"""Why another deployment's journal cannot be read, and whose it is to mend that, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaConnectionError

from annals.schemas.suggestion import meant
from annals.workers.kafka.connections import MissingTopicError, words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from annals.workers.settings import ForeignDeployment

FILE: Final = "ANNALS_FOREIGN_JOURNALS_FILE"


def unknown_deployment(deployment: str, known: Collection[str]) -> str:
    """Return why nothing can be read of a deployment that is not known here. known: those that are."""
    if not known:
        return f"{FILE} is not set, or empty: it must say where the deployment {deployment} is"
    return f"{FILE} names no deployment {deployment}: it has {', '.join(known)}.{meant(deployment, known)}"


def foreign_problem(
    deployment: str, known: Mapping[str, ForeignDeployment], ours: Mapping[str, Any], error: BaseException | None
) -> str:
    """Return why the journal of another deployment cannot be read now, and whose it is to mend that.

    known: those that are known here; ours: options of aiokafka clients for this deployment. error: what came of asking;
    None: it was not asked.
    """
    if deployment not in known or error is None:
        return unknown_deployment(deployment, known)
    other = known[deployment]
    if isinstance(error, MissingTopicError):
        return (
            f"the deployment {deployment} has no topic {error.topic}: its own operators create it, with `annals topics "
            f"create` there, or {other.topic_prefix!r}, the topic_prefix of [{deployment}] in {FILE}, is not its own"
        )
    at = other.options(ours).get("bootstrap_servers", "its brokers")
    if isinstance(error, KafkaConnectionError | OSError | TimeoutError):
        whose = f"bootstrap_servers of [{deployment}] in {FILE}, and " if other.connection is not None else ""
        return f"the deployment {deployment} does not answer at {at} ({words_of(error)}): look at {whose}its brokers"
    return (
        f"the brokers of the deployment {deployment} at {at} refuse ({words_of(error)}): this deployment's user needs "
        f"Read on its topics of events"
    )
