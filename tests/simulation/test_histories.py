"""A thousand histories come out right, each seed's always the same, and one that fails is made small."""

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mutations
import psutil
import pytest
from click.testing import CliRunner

from annals.workers.cli.simulate import simulate as command
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import BROKER_FAULTS, FAULTS, Fault, Plan, Sent, Weather, home_of, plan_of
from annals.workers.tools.simulation.shrink import shrink
from annals.workers.tools.simulation.survey import survey
from annals.workers.tools.simulation.world import World

ANNALS = Path(sys.executable).with_name("annals")
FEW, MANY = 60, 1_000
WHOLE = """
import json, logging
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import plan_of
from annals.workers.tools.simulation.reading_judge import ReadingJudge
logging.disable(logging.CRITICAL)
rows, differences = [], ReadingJudge.differences

def note(judge):
    here = [process.readers.here for process in judge._world.processes]
    rows.extend((key, repr(sorted(here[key].stores.open_one.rows.items()))) for here in here for key in here)
    return differences(judge)

ReadingJudge.differences = note
histories = [run(plan_of(seed)) for seed in range(5, 17)]
print(json.dumps([rows, [(each.problems, each.digest.hex(), each.counts, each.trace) for each in histories]]))
"""


def simulate(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Under coverage's tracing a thousand histories take ten minutes; without it, one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS_")}
    return subprocess.run(
        [ANNALS, "simulate", *options],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=1_800,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # four minutes beside others
def test_a_thousand_histories_come_out_right() -> None:
    found = simulate("--seeds", str(MANY), "--json")
    said = json.loads(found.stdout)
    assert (said["seeds"], [each["seed"] for each in said["failures"]], found.returncode) == (MANY, [], 0)


def test_whatever_happens_the_promises_hold() -> None:
    found = survey(0, FEW)
    assert found.failures == []
    assert {*FAULTS, *BROKER_FAULTS} <= set(found.counts)
    assert found.counts["uncertain"]
    assert found.counts["fenced"]


def test_what_a_history_began_has_ended_with_it() -> None:
    """Else the garbage collector ends it, in the midst of another test."""
    world = World(plan_of(3))
    world.run()
    assert asyncio.all_tasks(world.loop) == set()


def test_a_seed_is_the_same_history_whatever_the_hashes_are() -> None:
    """The journals, what readers indexed, what was counted, and all that the trace shows, with its times."""
    one, other = (
        subprocess.run(
            [sys.executable, "-c", WHOLE],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=1_800,
            check=False,
        )
        for seed in ("1", "2")
    )
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout == other.stdout
    rows, histories = json.loads(one.stdout)
    assert rows
    assert [problems for problems, *_ in histories] == [[]] * 12


def test_the_digest_is_over_the_journals_of_all_seeds() -> None:
    said = json.loads(simulate("--seeds", "3", "--seed", "5", "--json").stdout)
    assert (said["seeds"], said["failures"], said["digest"]) == (3, [], survey(5, 3).digest)


def test_processes_share_the_work_and_the_digest_is_the_same() -> None:
    said = json.loads(simulate("--seeds", "12", "--seed", "5", "--processes", "2", "--json").stdout)
    assert (said["seeds"], said["failures"], said["digest"]) == (12, [], survey(5, 12).digest)


def sharing() -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start two processes that share many histories, and the one that has begun them."""
    command = [ANNALS, "simulate", "--seeds", "10000", "--processes", "2"]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    found: list[psutil.Process] = []
    while len(found) < 2:
        assert parent.poll() is None
        found = [each for each in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    return parent, found


def test_a_ctrl_c_ends_all_processes_at_once_and_says_nothing() -> None:
    """A child that heard it while it started showed a traceback, or the parent waited for ever."""
    parent, children = sharing()
    statuses = [Path(f"/proc/{each.pid}/status").read_text() for each in children]
    os.killpg(parent.pid, signal.SIGINT)
    said, _ = parent.communicate(timeout=600)
    assert (parent.returncode, said.strip()) == (130, b"")
    blocked = [int(each, 16) for each in re.findall(r"^SigBlk:\s*(\w+)$", "\n".join(statuses), re.MULTILINE)]
    assert [each & 1 << signal.SIGINT - 1 for each in blocked] == [2, 2]


def test_no_process_is_left_when_the_one_that_began_it_is_killed() -> None:
    parent, children = sharing()
    with parent:
        parent.kill()
    assert psutil.wait_procs(children, timeout=600)[1] == []


def test_another_seed_is_another_history() -> None:
    assert survey(1, 1).digest != survey(2, 1).digest


def test_the_trace_shows_what_happens() -> None:
    shown = simulate("--seeds", "1", "--seed", "3", "--trace")
    assert shown.returncode == 0, shown.stderr
    assert "commands.counter-" in shown.stdout
    assert "healed" in shown.stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failure_is_shown_and_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, as_json) -> None:
    mutations.flush_before_bulk(monkeypatch)
    monkeypatch.setattr("annals.workers.tools.simulation.shrink.shrink", lambda plan: plan)
    try:
        result = CliRunner().invoke(command, ["--seeds", "2", *(["--json"] if as_json else [])], standalone_mode=False)
    finally:
        logging.disable(logging.NOTSET)  # the command line's process would end here
    assert result.return_value == 1
    if as_json:
        said = json.loads(result.stdout)
        assert [each["seed"] for each in said["failures"]] == [0, 1]
        assert all(each["problems"] for each in said["failures"])
    else:
        assert "2 histories" in result.stdout
        assert "the first that failed, seed 0" in result.stdout


def shortened(plan: Plan) -> Plan:
    """The beginning of a plan: a tenth of the time for each of a hundred histories."""
    return plan._replace(commands=plan.commands[:60], faults=plan.faults[:8])


def test_a_history_that_fails_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    mutations.rollback(monkeypatch)
    plan = next(plan for seed in range(50) if run(plan := shortened(plan_of(seed))).problems)
    small = shrink(plan, most=120)
    assert run(small).problems
    assert len(small.commands) + len(small.faults) < (len(plan.commands) + len(plan.faults)) / 2


@pytest.mark.parametrize("key", [b"p-1", b"p-3", "Ä".encode()])
def test_producers_place_keys_as_javas_do(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for partitions, wanted in zip((3, 4, 12), {b"p-1": (1, 0, 4), b"p-3": (1, 3, 7)}.get(key, (1, 0, 4)), strict=True):
        monkeypatch.setattr("annals.workers.tools.simulation.plan.PARTITIONS", partitions)
        assert home_of(key) == wanted


@pytest.mark.parametrize("seed", [20157, 20194])
def test_histories_end_once_all_have_looked(seed: int) -> None:
    """Outcomes are cut off, and shards suspended then; a reader has stopped, and so has a standby, which waits."""
    assert run(plan_of(seed)).problems == []


def test_another_shards_store_is_no_witness_against_a_journal_that_never_had_anything() -> None:
    """Its only outcome rejected a command: all that tells this journal from one that was made anew."""
    rejected = b'{"id":"c18","type":"RenameCounter","aggregate_id":"a3","data":{"name":"n4"}}'
    accepted = b'{"id":"c21","type":"OpenCounter","aggregate_id":"a5","data":{"name":"n8"}}'
    plan = Plan(
        seed=8,
        transaction_version=1,
        snapshot_every=0,
        commands=(Sent(0.954, "gauge", 1, b"a3", rejected), Sent(0.998, "gauge", 0, b"a5", accepted)),
        faults=(
            Fault(1.092, "crash_with_foreign_disk", 46580, 0.749),
            Fault(1.216, "freeze", 12371, 0.0367),
            Fault(1.653, "freeze", 24523, 0.0900),
            Fault(2.874, "crash_with_foreign_disk", 54147, 0.326),
        ),
        weather=Weather(),
    )
    assert run(plan).problems == []
