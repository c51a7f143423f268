"""What holds for every test: nothing is skipped in silence, hypothesis is the same everywhere, Kafka is real."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from aiokafka.admin import AIOKafkaAdminClient

import lanes
from annals.workers.tools.broker import Broker, BrokerError
from annals.workers.tools.broker.sharing import share_classes
from garbage import pytest_collection_finish, pytest_runtest_teardown  # noqa: F401 - hooks
from process_state import left_behind, process_state

# No deadline, and no check how fast examples are made: a shared machine under coverage is slow now and then, and a test
# that is right must not fail for it.
hypothesis.settings.register_profile(
    "annals", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("annals")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test has proven nothing: it fails, and says what was missing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a skip is a failure here: {reason}"
    return report


# A process that is killed writes no data of coverage, and one that is traced takes twice as long to start.
UNTRACED = ("untraced", "chaos")
TRACED_PROCESSES = "COVERAGE_PROCESS_CONFIG"


def is_untraced(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in UNTRACED)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have coverage look away from the processes that an untraced test and its fixtures start."""
    told = os.environ.pop(TRACED_PROCESSES, None) if is_untraced(item) else None
    try:
        return (yield)
    finally:
        if told is not None:
            os.environ[TRACED_PROCESSES] = told


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Have coverage look away from an untraced test: looking on takes twice as long as the test."""
    tracing = sys.gettrace()
    if tracing is None or not is_untraced(pyfuncitem):
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracing)


# Where Kafka itself is cached may be told from outside; no other setting of the shell may reach a test.
KEPT = ("ANNALS_TEST_", "ANNALS_CACHE_DIR")


def pytest_configure() -> None:
    """Forget the shell's settings, for the tests and for every process that they start.

    One of them is whether SIGINT is ignored: a shell sets it so for what runs in the background, and it is inherited.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("ANNALS_") and not name.startswith(KEPT)]:
        del os.environ[name]
    process, processes = os.environ.get("PYTEST_XDIST_WORKER", ""), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    if lanes.computes(process, int(processes)):
        os.nice(lanes.NICENESS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> lanes.Lanes | None:
    """Hand whole files out in an order and to processes by what they do; None for any other way to distribute tests."""
    return lanes.Lanes(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="module", autouse=True)
def process_as_it_was() -> Iterator[None]:
    """The tests of a file leave what all tests of the process share as they found it, or its last one fails."""
    before, on_sigterm = process_state(), signal.getsignal(signal.SIGTERM)
    yield
    # An event loop that has heard it gives it back to the system, and not to coverage, which writes its data then.
    signal.signal(signal.SIGTERM, on_sigterm)
    left = left_behind(before, process_state())
    assert not left, "; ".join(left)


@pytest.fixture
def signals_of_a_worker() -> Iterator[None]:
    """SIGINT raises nothing, as in a worker's reader; a worker has a handler of its own."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cache_dir() -> Path | None:
    """The folder that Kafka is cached in, where the shell names one."""
    named = os.environ.get("ANNALS_CACHE_DIR")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def shared_classes(cache_dir: Path | None) -> None:
    """Half the time of each of a hundred starts of brokers; where the cache cannot be written to they take it all."""
    with contextlib.suppress(BrokerError, OSError):
        share_classes(cache_dir)


@pytest.fixture(scope="session")
def bootstrap(
    tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A real broker's address: ANNALS_TEST_BOOTSTRAP, or one that runs as long as the tests; without one they fail."""
    given = os.environ.get("ANNALS_TEST_BOOTSTRAP")
    if given:
        yield given
        return
    request.getfixturevalue("shared_classes")
    with Broker(tmp_path_factory.mktemp("broker"), cache_dir=cache_dir) as broker:
        yield broker.bootstrap


@pytest.fixture
def topic_prefix(bootstrap: str) -> Iterator[str]:
    """A topic prefix of this test's own, which makes its consumer group its own too; its topics go with it."""
    yield from prefixed(bootstrap)


@pytest.fixture(scope="module")
def shared_prefix(bootstrap: str) -> Iterator[str]:
    """A topic prefix of all tests of a file, whose workers start once for them."""
    yield from prefixed(bootstrap)


def prefixed(bootstrap: str) -> Iterator[str]:
    """Yield a prefix that nobody has; its topics go with it."""
    name = f"t{secrets.token_hex(4)}."
    yield name
    asyncio.run(delete_topics(bootstrap, name))


async def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete every topic of a prefix: a broker with the topics of a thousand tests is slow."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if name.startswith(prefix)]
        if topics:
            await admin.delete_topics(topics)
    finally:
        await admin.close()
