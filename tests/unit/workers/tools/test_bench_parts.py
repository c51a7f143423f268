"""The pieces of the benchmarks that need no broker."""

import asyncio
import dataclasses
import gc
import itertools
import json
import os
import sys
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest

from annals.schemas.journal_reader import GapError
from annals.schemas.kinds import KINDS
from annals.workers.process import GC_THRESHOLDS
from annals.workers.settings import Settings
from annals.workers.tools.bench.figures import Part
from annals.workers.tools.bench.ground import Ground, Site
from annals.workers.tools.bench.load import aggregate_ids, histories
from annals.workers.tools.bench.parts.domain import answer, case_of
from annals.workers.tools.bench.parts.memory import journal_bytes, store_bytes
from annals.workers.tools.bench.parts.reading_library import typical_journal
from annals.workers.tools.bench.parts.scaling import longest_pause
from annals.workers.tools.bench.parts.size import Shape, _measured, in_turns
from annals.workers.tools.bench.plan import FULL, PARTS, QUICK
from annals.workers.tools.bench.programs import BenchError, Samples, Worker, program, undisturbed
from annals.workers.tools.bench.reading_model import ReadingModel
from annals.workers.tools.bench.run import MEASURES, measure
from annals.workers.tools.bench.shard_model import Cost, ShardModel
from annals.workers.tools.bench.typical import STORIES
from annals.workers.tools.bench.usage import usage_of


def at(folder, prefix=""):
    return Site(Settings(topic_prefix=prefix), folder)


def silent(what):
    pass


def test_every_part_has_a_measurement_in_the_same_order():
    assert tuple(MEASURES) == PARTS


def test_the_full_plan_is_the_one_that_was_promised():
    assert (FULL.drain_commands, FULL.drain_aggregates, FULL.backlog_commands) == (200_000, 2_000, 1_000_000)
    assert (FULL.rates, FULL.chain_events, FULL.store_aggregates) == ((100, 1_000), 100_000, 1_000_000)
    assert QUICK.drain_commands < 10_000


def test_every_kind_has_a_typical_command():
    assert set(STORIES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_typical_command_causes_events_again_and_again(kind):
    case = case_of(kind, STORIES[kind])
    answer(case)
    answer(case)


async def test_the_collector_looks_as_seldom_as_in_a_worker_while_a_part_is_measured(monkeypatch, tmp_path):
    seen, before = [], gc.get_threshold()

    async def look(ground, plan):
        seen.append(gc.get_threshold())
        return Part(name="domain", title="", method="", figures=[])

    monkeypatch.setitem(MEASURES, "domain", look)
    await measure(["domain"], QUICK, None, tmp_path, silent)
    assert seen == [GC_THRESHOLDS]
    assert gc.get_threshold() == before


def test_sizes_take_turns_so_that_a_machine_that_slows_down_changes_no_ratio():
    """Goes red when one size is measured behind the other, or rounds are not compared within themselves."""
    taken = itertools.count()

    class Model:
        """Takes as long at each size, and the longer the later it is asked."""

        def reopen(self):
            pass

        def cost(self, commands):
            return Cost(2.0 ** (next(taken) // 6), 1.0, 1.0)  # three models, asked twice each

    assert [each["times"] for each in in_turns([Model(), Model(), Model()], FULL)] == [1, 1, 1]


@pytest.mark.parametrize("aggregates", [20, None])
def test_what_is_measured_is_the_size_that_is_named_in_each_round(tmp_path, monkeypatch, aggregates):
    """Goes red when rounds are added to what is in the store: the last of them measures one many times as large."""
    plan = dataclasses.replace(QUICK, runs=2, seen_sample=50, seen_rounds=3)
    measured, cost = [], ShardModel.cost

    def seen(model, commands):
        measured.append(model.store.position().offset)
        return cost(model, commands)

    monkeypatch.setattr(ShardModel, "cost", seen)
    ground = SimpleNamespace(folder=tmp_path, say=silent)
    _measured(ground, plan, Shape("some aggregates", aggregates, (100, 400)))
    assert measured == [50, 100, 350, 400] * plan.runs * plan.seen_rounds


def test_a_story_whose_command_is_malformed_or_causes_nothing_is_refused():
    person = STORIES["person"]
    with pytest.raises(BenchError, match="malformed"):
        case_of("person", person._replace(command=("RenamePerson", {"name": ""})))
    with pytest.raises(BenchError, match="causes nothing"):
        case_of("person", person._replace(command=person.before[0]))


def test_histories_begin_each_aggregate_and_never_say_the_same_twice():
    ids = aggregate_ids(3)
    commands = [json.loads(value) for _, value in histories(ids, 9)]
    assert [each["aggregate_id"] for each in commands] == ids * 3
    assert [each["type"] for each in commands] == ["RegisterPerson"] * 3 + ["RenamePerson"] * 6
    assert len({each["id"] for each in commands}) == 9
    assert len({each["data"]["name"] for each in commands}) == 9


def test_the_usage_of_this_process_is_known():
    usage = usage_of(os.getpid())
    assert usage.cpu_s > 0
    assert usage.peak_bytes >= usage.rss_bytes > 1 << 20


def test_the_longest_pause_is_that_of_one_partition_between_start_and_end():
    # partition 0 pauses from 2 to 5, partition 1 from 0.5 to 1.5 and, much longer, before the start
    seen = {0: [1.0, 2.0, 5.0, 6.0], 1: [-9.0, 0.5, 1.5, 3.0, 4.0, 6.5]}
    pairs = [(partition, time) for partition, times in seen.items() for time in times]
    tail = SimpleNamespace(seen_at={b"%d" % number: pair for number, pair in enumerate(pairs)})
    assert longest_pause(tail, 0.0, 6.0) == 3.0
    assert longest_pause(tail, 4.0, 6.0) == 2.5
    assert longest_pause(tail, 7.0, 8.0) == 0.0


def test_bytes_of_journals_and_stores_are_those_of_their_files(tmp_path):
    for name, size in {
        "x.events.person-0/1.log": 10,
        "x.events.person-3/2.log": 5,
        "x.events.person-3/2.index": 7,
        "x.outcomes.person-0/1.log": 99,
        "data/x.annals/person/0/000004.sst": 20,
        "data/x.annals/person/0/000005.log": 2,
        "data/x.annals/person/0/LOG": 1000,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    site = at(tmp_path, "x.")
    assert journal_bytes(Ground("", tmp_path, silent, tmp_path), site) == 15
    assert journal_bytes(Ground("", tmp_path, silent), site) == 0
    assert store_bytes(tmp_path / "data") == 22


def test_histograms_are_read_by_their_labels():
    samples = Samples(
        "# TYPE commit_seconds histogram\n"
        'commit_seconds_bucket{kind="person",le="0.1"} 2\n'
        'commit_seconds_bucket{kind="person",le="+Inf"} 3\n'
        'commit_seconds_bucket{kind="agent",le="0.1"} 9\n'
    )
    assert samples.buckets("commit_seconds", kind="person") == {0.1: 2.0, float("inf"): 3.0}


def test_a_worker_tells_its_partitions_by_its_last_assignment(tmp_path):
    log = tmp_path / "worker.log"
    lines = [
        "a line of another library",
        json.dumps({"event": "shards assigned", "shards": ["person-0", "person-1", "agent-0"]}),
        json.dumps({"event": "shards assigned", "shards": ["person-11", "agent-0"]}),
    ]
    log.write_text("\n".join(lines))
    worker = Worker(None, log)
    assert worker.partitions("person") == {11}
    log.write_text("")
    assert worker.partitions("person") == set()


async def test_a_program_that_fails_is_told_with_its_last_words(tmp_path):
    code = "import sys; sys.exit('it is broken')"
    with pytest.raises(BenchError, match=r"(?s)broken-\d+ ended with 1:.*it is broken"):
        async with program(at(tmp_path), "broken", ["-c", code]) as process:
            await process.result(within_s=60)


async def test_a_program_that_does_not_answer_in_time_is_ended(tmp_path):
    code = "import time; time.sleep(600)"
    with pytest.raises(BenchError, match="not done within"):
        async with program(at(tmp_path), "slow", ["-c", code]) as process:
            await process.result(within_s=0.01)
    assert not process.is_running


async def test_a_program_answers_with_a_line_of_json(tmp_path):
    code = "print('{\"count\": 7}', flush=True); import time; time.sleep(600)"
    async with program(at(tmp_path), "good", ["-c", code]) as process:
        assert await process.result(within_s=60) == {"count": 7}
        assert process.usage().rss_bytes > 0


async def test_a_program_ends_with_the_process_that_started_it(tmp_path):
    inner = tmp_path / "inner.py"
    inner.write_text("import os, sys, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    outer = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from annals.workers.tools.bench.programs import _start\n"
        "async def main():\n"
        "    process = await _start([sys.argv[1]], Path(sys.argv[2]))\n"
        "    print((await process.stdout.readline()).decode(), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", outer, str(inner), str(tmp_path / "log")), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    with suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(psutil.Process(int(output)).wait, 60)


async def test_cleaning_up_is_not_left_half_done_when_it_is_cancelled():
    began, may_end, done = asyncio.Event(), asyncio.Event(), []

    async def clean_up():
        began.set()
        await may_end.wait()
        done.append(True)

    task = asyncio.create_task(undisturbed(clean_up()))
    await began.wait()
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


def test_a_typical_journal_of_every_kind_is_folded_whole_with_its_projections(tmp_path):
    for kind in KINDS:
        model = ReadingModel(tmp_path / kind, kind, with_projections=True)
        model.read(typical_journal(kind, 30))
        assert model.fold.counts == {"events": 30}
        assert model.status().stale == {}
        model.close()


def test_a_journal_with_a_gap_is_not_measured(tmp_path):
    model = ReadingModel(tmp_path, "person")
    records = typical_journal("person", 3)
    with pytest.raises(GapError):
        model.read([records[0], records[2]])
    model.close()
