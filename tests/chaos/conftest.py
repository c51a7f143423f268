"""A broker of these tests' own, which is killed, starved and lied about. Topics of its own for each test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_proxy import HOST, Proxy
from chaos_scenario import Scenario

from annals.workers.kafka.protocol.transactions_v2 import FEATURE, IMPLICIT_FROM
from annals.workers.tools.broker import Broker
from processes import BACK_SOON, free_port


def properties(port: int, behind: int, proxied: int) -> dict[str, str]:
    """A second listener, `behind` the proxy: who asks the proxy first is told to ask the proxy always."""
    internal, controller = free_port(), free_port()
    both = f"INTERNAL://{HOST}:{internal}"
    return {
        **BACK_SOON,
        # a dead worker's partitions move sooner than any real deployment allows
        "group.min.session.timeout.ms": "1000",
        "listeners": f"CLIENT://{HOST}:{port},PROXIED://{HOST}:{behind},{both},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"CLIENT://{HOST}:{port},PROXIED://{HOST}:{proxied},{both},"
        f"CONTROLLER://{HOST}:{controller}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,PROXIED:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
    }


@pytest.fixture(scope="session")
def transactions(request: pytest.FixtureRequest) -> int:
    """The version of the broker's transactions: the newest one, unless a test asks for another."""
    return int(getattr(request, "param", IMPLICIT_FROM))


@pytest.fixture(scope="session")
def wire(
    tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None, transactions: int, shared_classes: None
) -> Iterator[tuple[Broker, Proxy]]:
    """The broker, and a proxy before it."""
    port, behind, proxied = free_port(), free_port(), free_port()
    folder, features = tmp_path_factory.mktemp("chaos-broker"), {FEATURE: transactions}
    listening = properties(port, behind, proxied)
    with Broker(folder, port, cache_dir=cache_dir, properties=listening, features=features) as broker:
        proxy = Proxy(proxied, behind).start()
        try:
            yield broker, proxy
        finally:
            proxy.stop()


@pytest.fixture
def chaos_broker(wire: tuple[Broker, Proxy]) -> Broker:
    """The broker, running: whoever kills it need not start it again."""
    return wire[0].start()


@pytest.fixture
def proxy(wire: tuple[Broker, Proxy]) -> Iterator[Proxy]:
    """The proxy, which tells no lies before or after a test."""
    yield wire[1]
    wire[1].forget()


@pytest.fixture
def scenario(chaos_broker: Broker, tmp_path: Path) -> Iterator[Scenario]:
    """A deployment with its sender and its reader, on topics of its own."""
    with Scenario(chaos_broker.bootstrap, f"c{secrets.token_hex(4)}.", tmp_path) as made:
        yield made.make_topics()


@pytest.fixture
def people(chaos_broker: Broker, tmp_path: Path) -> Iterator[Scenario]:
    """The same with persons alone: half the shards."""
    with Scenario(chaos_broker.bootstrap, f"c{secrets.token_hex(4)}.", tmp_path, kinds=("person",)) as made:
        yield made.make_topics()
