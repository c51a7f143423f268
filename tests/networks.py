"""Networks between clients and a cluster in memory that fail as a test wants it."""

from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaConnectionError

from annals.workers.memory.client import Direct


class Cut(Direct):
    """A network that may be down."""

    is_down = False

    async def ask(self, request: Any, serve: Callable[[Any], Any]) -> Any:
        """Answer, or raise KafkaConnectionError while it is down."""
        if self.is_down:
            raise KafkaConnectionError
        return await super().ask(request, serve)
