"""What the posters of a process share: connections, secrets, endpoints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from annals.agents.publishing.webhooks.addresses import networks
from annals.agents.publishing.webhooks.rules import WebhookRules
from annals.agents.waiting import ended
from annals.workers.webhooks.endpoint import Endpoints
from annals.workers.webhooks.poster import WebhookPoster
from annals.workers.webhooks.secrets import SecretFolder
from annals.workers.webhooks.sender import WebhookSender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.agents.ports import Clock
    from annals.schemas.subscription import Definition
    from annals.workers.settings import Settings
    from annals.workers.webhooks.telemetry import WebhookMetrics


def rules(settings: Settings) -> WebhookRules:
    """Return what a webhook must be where these are the settings."""
    folder = settings.webhook_secrets_dir
    return WebhookRules(networks(settings.webhook_allow), None if folder is None else SecretFolder(folder).has)


class Webhooks:
    """Makes posters."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        steady: Clock,
        metrics: WebhookMetrics,
        pause: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        """Take the settings and so on.

        steady: the clock of the rows that are posted, which is never set back. pause: has a subscription paused, says
        why, and which URL is gone.
        """
        self._sender = WebhookSender(networks(settings.webhook_allow))
        self._secrets = SecretFolder(settings.webhook_secrets_dir)
        self._endpoints = Endpoints()
        self._clock = clock
        self._steady = steady
        self._metrics = metrics
        self._pause = pause
        self._pausing: dict[tuple[str, str], asyncio.Task[None]] = {}  # by name and URL: it may get another meanwhile

    def poster(self, definition: Definition) -> WebhookPoster | None:
        """Return what posts the deliveries of a subscription; None: it has no webhook."""
        webhook, name = definition.webhook, definition.name
        if webhook is None:
            return None
        gone = name, webhook.url

        async def pause(reason: str) -> None:
            await self._pause(name, reason, webhook.url)

        def begin_pause(reason: str) -> None:
            if gone in self._pausing:
                return  # those that pause fence one another
            task = asyncio.create_task(pause(reason), name=f"pause {name}")
            self._pausing[gone] = task
            task.add_done_callback(lambda _: self._pausing.pop(gone, None))

        return WebhookPoster(
            name,
            webhook,
            self._endpoints.get(webhook.url),
            self._sender,
            self._secrets,
            self._clock,
            self._steady,
            self._metrics,
            begin_pause,
            lambda: gone in self._pausing,
        )

    async def close(self) -> None:
        """Close all connections."""
        await ended(*self._pausing.values())
        await self._sender.close()
