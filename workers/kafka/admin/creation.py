"""What brokers answer to the wish for topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.errors import KafkaError

NOT_PERMITTED: Final = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)


class Refusal(NamedTuple):
    """A topic that the brokers did not create. said: their own words, or the error's name."""

    topic: str
    error: type[KafkaError]
    said: str

    @property
    def is_of_rights(self) -> bool:
        """Whether the user may not create it."""
        return issubclass(self.error, NOT_PERMITTED)

    def __str__(self) -> str:
        return f"{self.topic} could not be created: {self.said}"


async def create_topics(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> tuple[list[str], list[Refusal]]:
    """Create topics; return those that were made, and those that were refused. One that is there already is neither."""
    response = await admin.create_topics(topics)
    made, refusals = [], []
    for name, code, message in response.topic_errors:
        error = for_code(code)
        if not code:
            made.append(name)
        elif error is not TopicAlreadyExistsError:
            refusals.append(Refusal(name, error, message or error.__name__))
    return made, refusals
