"""`annals subscriptions list`: page by page, and one JSON document all the same."""

import json

import pytest
from click.testing import CliRunner

from annals.workers.cli import subscriptions as module
from annals.workers.publishing.service import Answered


def body(name):
    return {"name": name, "status": "active", "delivery": "stream", "lag": {"events": 0}, "reason": None}


class Service:
    def __init__(self, count):
        self.names = [f"s-{number:04}" for number in range(count)]
        self.pages = []

    def page(self, after, limit):
        wanted = [name for name in self.names if name > after]
        self.pages.append(len(wanted[:limit]))
        return [Answered(body(name), "0") for name in wanted[:limit]], len(wanted) <= limit


@pytest.mark.parametrize(("count", "pages"), [(0, [0]), (1, [1]), (100, [100]), (250, [100, 100, 50])])
def test_all_are_listed_a_page_at_a_time(monkeypatch, count, pages):
    service = Service(count)
    monkeypatch.setattr(module, "_asked", lambda _, ask: ask(service))
    found = CliRunner().invoke(module.subscriptions, ["list", "--json"])
    assert json.loads(found.output) == {"subscriptions": [body(name) for name in service.names], "next": None}
    assert service.pages == pages
    found = CliRunner().invoke(module.subscriptions, ["list"])
    assert [line.split()[0] for line in found.output.splitlines()] == service.names
