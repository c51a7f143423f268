"""Publishes schemas beside the worker: what fails is warned about and tried again, and never stops the worker."""

from __future__ import annotations

import asyncio
import re
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from annals.schemas.json_schemas.json_schema import urn
from annals.topics.names import TopicNames
from annals.topics.schemas import schema_key
from annals.workers.schema_publisher import topic
from annals.workers.schema_publisher.published import published
from annals.workers.schema_publisher.registry import RegistryUnreachableError, register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

KEY: Final = re.compile(r"annals\.(?P<kind>.+)\.(?P<type>[^.]+)\.v(?P<version>[0-9]{1,9})")
FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 300.0


class SchemaPublisher:
    """Publishes the schemas of the deciders' messages once, and knows which release published which."""

    def __init__(self, settings: Settings, options: Mapping[str, Any], deciders: Mapping[str, Decider[Any]]) -> None:
        """Take the settings, aiokafka options, and the deciders whose messages are published."""
        self.releases: dict[str, str] = {}
        """The release that published a version of a message first, by the schema's URN; filled by `run`."""
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._topic = TopicNames(settings.topic_prefix).schemas
        self._release = metadata.version("annals")

    async def run(self) -> None:
        """Publish to the topic and, where one is named, to the registry; return when both have everything."""
        await asyncio.gather(
            _until_done(self.to_topic, "the schemas could not be published", topic=self._topic),
            _until_done(
                self.to_registry, "the schema registry does not answer", url=self._settings.schema_registry_url
            ),
        )

    async def to_topic(self) -> int:
        """Write what differs to the topic, and return how many records that were.

        Raises:
            KafkaError: the brokers do not answer, or refuse.
        """
        schemas = list(published(self._deciders))
        keys = {schema_key(schema.kind, schema.name, schema.version) for schema in schemas}
        kept = await topic.read(self._options, self._topic, keys)
        self._learn(kept)
        wanted = topic.changes(kept, schemas, self._release)
        if wanted:
            await topic.write(self._options, self._topic, wanted)
            self._learn({key: record for key, (_, record) in wanted.items()})
            log.info("schemas published", topic=self._topic, schemas=len(wanted))
        return len(wanted)

    async def to_registry(self) -> int:
        """Register every schema, where a registry is named, and return how many subjects it refused something of.

        Raises:
            RegistryUnreachableError: the registry does not answer.
        """
        if self._settings.schema_registry_url is None:
            return 0
        refused = await register(self._settings, published(self._deciders))
        for subject, why in refused.items():
            log.warning("the schema registry refused a schema", subject=subject, why=why)
        return len(refused)

    def _learn(self, kept: Mapping[str, topic.Kept]) -> None:
        for key, record in kept.items():
            named = KEY.fullmatch(key)
            if named is not None and record.release:
                self.releases[urn(named["kind"], named["type"], int(named["version"]))] = record.release


async def _until_done(publish: Callable[[], Awaitable[int]], trouble: str, **where: Any) -> None:
    retry = FIRST_RETRY_S
    while True:
        try:
            await publish()
        except (KafkaError, OSError, TimeoutError, RegistryUnreachableError) as error:
            log.warning(trouble, **where, retry_s=retry, error=str(error))
            await asyncio.sleep(retry)
            retry = min(2 * retry, LAST_RETRY_S)
        except Exception:
            log.exception("schemas are not published")  # a defect: the worker goes on without
            return
        else:
            return
