"""Commands that ask Kafka as the API does: exit status 1 where the answer is no, 2 where there is none now."""

import pytest
from click.testing import CliRunner

from annals.agents.publishing.administration import Refused
from annals.workers.cli import parked, reactions, subscriptions
from annals.workers.publishing.parked import ParkedService
from annals.workers.publishing.service import SubscriptionService
from annals.workers.reacting.service import ReactionService

COMMANDS = [
    (reactions.reactions, ["status", "assign-tasks"], ReactionService, "get"),
    (reactions.reactions, ["pause", "assign-tasks"], ReactionService, "pause"),
    (reactions.reactions, ["list"], ReactionService, "all"),
    (subscriptions.subscriptions, ["show", "all"], SubscriptionService, "get"),
    (subscriptions.subscriptions, ["pause", "all"], SubscriptionService, "pause"),
    (parked.parked, ["list", "all"], ParkedService, "page"),
]


@pytest.mark.parametrize(("status", "expected"), [(404, 1), (409, 1), (412, 1), (422, 1), (503, 2)])
@pytest.mark.parametrize(("group", "words", "service", "method"), COMMANDS)
def test_who_is_refused_now_has_no_answer(monkeypatch, group, words, service, method, status, expected):
    async def refuse(*_, **__):
        raise Refused(status, "said", "not this way")

    monkeypatch.setattr(service, method, refuse)
    found = CliRunner().invoke(group, words)
    assert found.exit_code == expected
    assert "annals: said: not this way" in found.output
