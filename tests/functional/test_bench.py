"""`annals bench` in small, through a real broker: every measurement runs, and leaves nothing behind."""

import asyncio
import json
import logging
import math
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from annals.workers.cli import main
from annals.workers.tools.bench.plan import PARTS
from processes import ENTRY_POINT, WITHIN_S, own_environment, running, until, until_over

pytestmark = [pytest.mark.broker, pytest.mark.slow]

WITH_PROGRAMS = ("deliver", "drain")
"""Parts that start programs of their own: of the others coverage sees all in this process, but for the workers."""


async def no_topics_are_left(bootstrap: str) -> None:
    """Return when the broker knows no topic of a bench: it says so some time after it was told to delete them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            while any(name.startswith("bench-") for name in await admin.list_topics()):
                pass
    finally:
        await admin.close()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_measures_and_cleans_up(part, bootstrap, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    if part not in WITH_PROGRAMS:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["bench", part, "--quick", "--json", "--bootstrap-servers", bootstrap, "--folder", str(tmp_path)])
    output, errors = capsys.readouterr()
    assert end.value.code == 0
    assert [line for line in errors.splitlines() if not line.startswith("… ")] == []
    (found,) = json.loads(output)["parts"]
    assert found["name"] == part
    assert found["figures"]
    for figure in found["figures"]:
        assert len(figure["values"]) == 1, figure
        assert all(math.isfinite(value) and value >= 0 for value in figure["values"]), figure
    asyncio.run(no_topics_are_left(bootstrap))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.untraced
def test_a_broker_of_its_own_is_started_and_the_page_is_written(tmp_path, cache_dir):
    settings = {} if cache_dir is None else {"ANNALS_CACHE_DIR": str(cache_dir)}
    result = subprocess.run(
        [ENTRY_POINT, "bench", "latency", "sizes", "--quick", "--write", "bench"],
        env=own_environment(**settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("From send to readable event (annals bench latency)\n")
    assert "\nBytes per event by codec (annals bench sizes)\n" in result.stdout
    assert "none: journal, bytes per event" in result.stdout
    page = (tmp_path / "bench/RESULTS.md").read_text()
    assert "| broker | Apache Kafka 4." in page
    assert "| zstd: journal, bytes per event |" in page
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"RESULTS.md", "results.json"}


def test_sigterm_ends_it_with_all_that_it_started(tmp_path: Path, bootstrap):
    log = tmp_path / "bench.log"
    command = [ENTRY_POINT, "bench", "takeover", "--bootstrap-servers", bootstrap, "--folder", str(tmp_path)]
    with running(command, own_environment(), log) as process:
        bench = psutil.Process(process.pid)
        until(lambda: list(tmp_path.glob("annals-bench-*/bench-*/worker-*.log")), process, log, "a worker")
        started = until(lambda: bench.children(recursive=True), process, log, "its process")  # behind its log
        process.send_signal(signal.SIGTERM)
        assert until_over(process, log) == 130, log.read_text()
    _, alive = psutil.wait_procs(started, 30)
    assert alive == []
    asyncio.run(no_topics_are_left(bootstrap))
    assert list(tmp_path.glob("annals-bench-*")) == []


def test_without_a_broker_at_the_address_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit) as end:
        main(["bench", "drain", "--quick", "--bootstrap-servers", "127.0.0.1:1"])
    assert end.value.code == 2
    assert "no Kafka broker answers at 127.0.0.1:1" in capsys.readouterr().err
