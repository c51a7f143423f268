"""What a webhook must be here, where it is asked for: a URL that may be used, and secrets that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.publishing.webhooks.addresses import url_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.agents.publishing.webhooks.addresses import Network
    from annals.schemas.data.complaints import Problem
    from annals.schemas.subscription import Webhook


class WebhookRules(NamedTuple):
    """allowed: ranges beside the public ones. has_secret: whether a name is of a secret that can be used."""

    allowed: Sequence[Network] = ()
    has_secret: Callable[[str], bool] | None = None

    def problems(self, webhook: Webhook | None) -> list[Problem]:
        """Return what is wrong with a webhook; what is not there and what cannot be read is one and the same."""
        if webhook is None:
            return []
        if self.has_secret is None:
            return [("webhook.secrets", "need ANNALS_WEBHOOK_SECRETS_DIR, the folder of their files, which is not set")]
        wrong = [
            (f"webhook.secrets[{at}]", f"{name!r} is no secret that can be used: see ANNALS_WEBHOOK_SECRETS_DIR")
            for at, name in enumerate(webhook.secrets)
            if not self.has_secret(name)
        ]
        url = url_problem(webhook.url, self.allowed)
        return [("webhook.url", url), *wrong] if url is not None else wrong


NO_WEBHOOKS: Final = WebhookRules()
