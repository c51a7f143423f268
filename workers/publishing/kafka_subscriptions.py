"""What every service that administers subscriptions in Kafka begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.topics.names import TopicNames
from annals.workers.publishing.compacted_views import CompactedViews

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.deciding.decider import Decider
    from annals.workers.settings import Settings


class KafkaSubscriptions:
    """The subscriptions of one deployment: where its topics are, which kinds it has, and what was read of them."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        views: CompactedViews | None = None,
    ) -> None:
        """Take the settings, aiokafka client options, the kinds that there are, and what others have read."""
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._names = TopicNames(settings.topic_prefix)
        self._views = views or CompactedViews()
