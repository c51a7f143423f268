"""The broker's own settings, as Kafka reads them."""

import subprocess
import sys
from pathlib import Path

import pytest

from annals.workers import launcher
from annals.workers.tools.broker.ports import find_ports
from annals.workers.tools.broker.properties import Ports, as_properties_file, broker_properties

KAFKAS_SESSION_MS = 9_000
PORTS = Ports(client=1, advertised=2, internal=3, controller=4)


def test_clients_are_told_the_advertised_port_and_the_broker_itself_goes_another_way() -> None:
    properties = broker_properties(Path("/data"), PORTS, {})
    assert properties["listeners"].split(",")[0] == "CLIENT://127.0.0.1:1"
    assert properties["advertised.listeners"].split(",")[0] == "CLIENT://127.0.0.1:2"
    assert properties["inter.broker.listener.name"] == "INTERNAL"


def test_everything_listens_on_this_machine_only() -> None:
    properties = broker_properties(Path("/data"), PORTS, {})
    addresses = (properties["listeners"] + "," + properties["advertised.listeners"]).split(",")
    assert all("//127.0.0.1:" in address for address in addresses)


def test_one_node_is_enough_for_the_internal_topics() -> None:
    properties = broker_properties(Path("/data"), PORTS, {})
    factors = {name: value for name, value in properties.items() if "replication.factor" in name or "min.isr" in name}
    assert len(factors) == 5
    assert set(factors.values()) == {"1"}
    assert properties["group.initial.rebalance.delay.ms"] == "0"


def test_a_session_of_the_broker_lasts_as_long_as_by_default() -> None:
    """Shorter ones end on a busy machine, and transactions that end meanwhile can lose their markers."""
    properties = broker_properties(Path("/data"), PORTS, {})
    assert int(properties.get("broker.session.timeout.ms", KAFKAS_SESSION_MS)) >= KAFKAS_SESSION_MS
    assert 10 * int(properties["broker.heartbeat.interval.ms"]) <= KAFKAS_SESSION_MS


def test_what_is_given_has_the_last_word() -> None:
    assert broker_properties(Path("/data"), PORTS, {"node.id": "7"})["node.id"] == "7"


@pytest.mark.parametrize(
    ("value", "written"),
    [("plain /a-b_c", "plain /a-b_c"), ("C:\\x", "C:\\\\x"), ("ä€", "\\u00e4\\u20ac"), ("a\nb", "a\\u000ab")],
)
def test_a_value_is_written_as_java_reads_it(value: str, written: str) -> None:
    assert as_properties_file({"name": value}) == f"name={written}\n"


def test_the_ports_of_a_start_are_all_different() -> None:
    ports = find_ports(0, None)
    assert ports.advertised == ports.client
    assert len(set(ports)) == 3
    assert find_ports(0, 9).advertised == 9


def test_the_launcher_starts_nothing_for_a_parent_that_is_gone() -> None:
    # In a process of its own: the kernel remembers what a launcher asks of it.
    command = [sys.executable, launcher.__file__, "1", "/bin/echo", "started"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert "is gone" in result.stderr
