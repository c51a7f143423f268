"""A broker of these tests' own behind a proxy: it is killed, starved and lied about. Fresh topics for each test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_scenario import Scenario

from workers.broker import Broker

PROPERTIES = {
    "group.min.session.timeout.ms": "1000",  # a dead worker's partitions move sooner than any real deployment allows
    "delete.topic.enable": "true",
}


@pytest.fixture(scope="session")
def chaos_broker(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Broker]:
    """The broker; whoever kills it starts it again."""
    with Broker(tmp_path_factory.mktemp("chaos-broker"), cache_dir=cache_dir, properties=PROPERTIES) as broker:
        yield broker


@pytest.fixture
def scenario(chaos_broker: Broker, tmp_path: Path) -> Iterator[Scenario]:
    """A deployment with its sender and its reader, on topics of its own."""
    chaos_broker.start()
    with Scenario(chaos_broker.bootstrap, f"c{secrets.token_hex(4)}.", tmp_path) as made:
        yield made
