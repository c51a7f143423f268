"""Jobs over several workers in memory: they outlive the worker that runs them, and end when somebody says so."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from annals.agents.reading import jobs as module
from annals.agents.reading.jobs import MOST_KEPT, MOST_RUNNING, MOST_TAKEOVERS, Jobs, TooManyJobsError
from annals.agents.reading.ports import Member, NotReadyError
from annals.schemas.job_record import JobRecord, decode_job, encode_job
from following import Clock, until
from jobs_in_memory import JobRecordsInMemory, numbered


class Group:
    """The group as one member sees it: the first member has partition 0."""

    def __init__(self, me, members):
        self.name, self.members = me, members

    @property
    def me(self):
        return next((member for member in self.members if member.id == self.name), None)

    def all(self):
        return self.members

    def owner(self, kind, partition):
        assert (kind, partition) == ("person", 0)
        return self.members[0] if self.members else None


class Looks(Clock):
    """Goes on by a hundredth of a second each time that somebody looks at it.

    Of a process that stands still for a moment nobody is silent for longer than the others.
    """

    def __init__(self):
        self.passed = 0.0

    def monotonic(self):
        self.passed += 0.01
        return self.passed


class Counting:
    """Work that counts up to `goal`, one each time that it may; where it began each time."""

    def __init__(self, goal=10**9):
        self.goal, self.begun, self.ended = goal, [], 0

    async def __call__(self, record, report):
        count = record.progress.get("count", 0)
        self.begun.append(count)
        try:
            while count < self.goal:
                count += 1
                report({"count": count})
                await asyncio.sleep(0.001)
            return {"counted": count}
        finally:
            self.ended += 1


class Fails:
    async def __call__(self, record, report):
        raise ValueError("no")


class Group3:
    """Workers that share the topic. `gone(name)`: one is killed: it leaves the group and writes nothing more."""

    def __init__(self, monkeypatch, **works):
        monkeypatch.setattr(module, "LOOK_S", 0.005)
        monkeypatch.setattr(module, "BEAT_S", 0.02)
        monkeypatch.setattr(module, "SILENT_S", 0.2)
        self.records, self.members = JobRecordsInMemory(), [Member(name, None, {}, {}) for name in "abc"]
        self.works = works
        new_id = numbered()
        self.jobs = {name: Jobs(self.records, Group(name, self.members), works, Looks(), new_id) for name in "abc"}
        self.tasks = {}

    def begin(self):
        self.tasks = {name: asyncio.create_task(jobs.run()) for name, jobs in self.jobs.items()}

    def gone(self, name):
        self.members[:] = [member for member in self.members if member.id != name]
        self.tasks[name].cancel()
        for running in self.jobs[name]._running.values():
            running.task.cancel()

    async def end(self):
        for name, task in self.tasks.items():
            task.cancel()
            await self.jobs[name].close()
        await asyncio.wait(self.tasks.values())

    def status(self, job):
        return self.records.records[job.id].status


@pytest.fixture
def begun(monkeypatch):
    @asynccontextmanager
    async def of(**works):
        group = Group3(monkeypatch, **works)
        group.begin()
        try:
            yield group
        finally:
            await group.end()

    return of


async def test_any_worker_tells_how_a_job_stands_and_what_came_of_it(begun):
    async with begun(count=Counting(20), fail=Fails()) as group:
        job = await group.jobs["b"].start("count", "twenty", {"to": 20})
        assert (job.status, job.worker, job.request) == ("running", "b", {"to": 20})
        await until(lambda: group.status(job) == "done")
        for jobs in group.jobs.values():
            found = await jobs.get(job.id)
            assert (found.result, found.progress, found.error) == ({"counted": 20}, {"count": 20}, None)
            assert found.ended_at is not None
        failed = await group.jobs["c"].start("fail", "", {})
        await until(lambda: group.status(failed) == "failed")
        assert (await group.jobs["a"].get(failed.id)).error == "no"
        assert [each.id for each in await group.jobs["a"].all()] == [failed.id, job.id]
        assert [each.id for each in await group.jobs["a"].all("count")] == [job.id]
        assert await group.jobs["a"].get("j-9999") is None


async def test_a_job_is_taken_up_after_a_kill_and_goes_on_where_it_was(begun):
    work = Counting()
    async with begun(count=work) as group:
        job = await group.jobs["b"].start("count", "", {})
        await until(lambda: group.records.records[job.id].progress.get("count", 0) > 3)
        group.gone("b")
        recorded = group.records.records[job.id].progress["count"]
        await until(lambda: group.records.records[job.id].worker == "a")
        await until(lambda: len(work.begun) == 2)
        assert work.begun[1] >= recorded > 3
        assert group.records.records[job.id].takeovers == 1
        cancelled = await group.jobs["c"].cancel(job.id)
        assert cancelled.status == "cancelled"
        await until(lambda: work.ended == 2)


async def test_the_owner_of_partition_0_goes_and_the_next_one_takes_up(begun):
    work = Counting()
    async with begun(count=work) as group:
        job = await group.jobs["a"].start("count", "", {})
        await until(lambda: group.records.records[job.id].beats > 0)
        group.gone("a")
        await until(lambda: group.records.records[job.id].worker == "b" and len(work.begun) == 2)


async def test_a_worker_that_ends_gives_its_jobs_back_at_once(begun):
    work = Counting()
    async with begun(count=work) as group:
        job = await group.jobs["c"].start("count", "", {})
        await until(lambda: work.begun)
        group.tasks["c"].cancel()
        await group.jobs["c"].close()
        assert work.ended == 1
        await until(lambda: group.records.records[job.id].worker == "a")
        assert group.records.records[job.id].takeovers == 0


async def test_a_live_worker_that_the_group_lost_for_a_moment_keeps_its_job_under_its_new_id(begun):
    work = Counting()
    async with begun(count=work) as group:
        job = await group.jobs["b"].start("count", "", {})
        group.members[1] = Member("b2", None, {}, {})
        group.jobs["b"]._members.name = "b2"
        await until(lambda: group.records.records[job.id].worker == "b2")
        assert (len(work.begun), group.records.records[job.id].takeovers) == (1, 0)


async def test_a_static_member_takes_up_what_its_process_before_had_under_the_same_id(begun):
    work = Counting()
    async with begun(count=work) as group:
        own = JobRecord(id="own", kind="count", subject="", status="running", started_at="", worker="b")
        group.records.records = {"own": own}
        await until(lambda: len(work.begun) == 1)
        assert "own" in group.jobs["b"]._running


async def test_a_member_that_is_silent_for_too_long_loses_its_job(begun, monkeypatch):
    monkeypatch.setattr(module, "TOO_SILENT_S", 0.3)
    work = Counting()
    async with begun(count=work) as group:
        group.members.append(Member("hung", None, {}, {}))
        hung = JobRecord(id="h", kind="count", subject="", status="running", started_at="", worker="hung")
        group.records.records = {"h": hung}
        await until(lambda: group.records.records["h"].worker == "a")


async def test_a_member_that_is_silent_for_a_moment_keeps_its_job(begun):
    async with begun(count=Counting()) as group:
        group.members.append(Member("slow", None, {}, {}))
        slow = JobRecord(id="slow", kind="count", subject="", status="running", started_at="", worker="slow")
        lost = JobRecord(id="z", kind="count", subject="", status="running", started_at="", worker="gone")
        group.records.records = {"slow": slow, "z": lost}
        await until(lambda: group.records.records["z"].worker == "a")  # which was as silent
        assert group.records.records["slow"] == slow


async def test_a_job_that_was_cancelled_a_moment_ago_is_not_taken_up(begun):
    work = Counting()
    async with begun(count=work) as group:
        lost = JobRecord(id="z", kind="count", subject="", status="running", started_at="")
        group.records.unread = {"z": replace(lost, status="cancelled")}
        group.records.records = {"z": lost}
        await until(lambda: group.status(lost) == "cancelled")
        await until(lambda: group.jobs["a"].running == 0)
        assert work.begun == []


async def test_what_was_cancelled_a_moment_ago_is_not_done(begun):
    async with begun(count=Counting(1)) as group:
        job = await group.jobs["a"].start("count", "", {})
        group.records.unread = {job.id: replace(job, status="cancelled")}
        await until(lambda: group.jobs["a"].running == 0)
        assert group.status(job) == "cancelled"


async def test_a_worker_whose_job_was_taken_up_meanwhile_ends_its_own_work(begun):
    work = Counting()
    async with begun(count=work) as group:
        job = await group.jobs["b"].start("count", "", {})
        await until(lambda: work.begun)
        taken = {**group.records.records}
        taken[job.id] = replace(taken[job.id], worker="a")
        group.records.records = taken
        await until(lambda: work.ended == 1)
        assert job.id not in group.jobs["b"]._running


async def test_what_loses_worker_after_worker_fails(begun):
    work = Counting()
    async with begun(count=work) as group:
        lost = JobRecord(
            id="lost", kind="count", subject="", status="running", started_at="", worker="x", takeovers=MOST_TAKEOVERS
        )
        foreign = JobRecord(id="later", kind="unheard-of", subject="", status="running", started_at="", worker="x")
        group.records.records = {"lost": lost, "later": foreign}
        await until(lambda: group.status(lost) == "failed")
        assert "workers were lost" in (await group.jobs["b"].get("lost")).error
        assert work.begun == []
        assert group.status(foreign) == "running"


async def test_no_more_run_than_may_and_the_oldest_are_forgotten(begun):
    async with begun(count=Counting()) as group:
        old = {
            f"a-{number:04}": JobRecord(id=f"a-{number:04}", kind="count", subject="", status="done", started_at="")
            for number in range(MOST_KEPT)
        }
        group.records.records = dict(old)
        for _ in range(MOST_RUNNING):
            await group.jobs["a"].start("count", "", {})
        with pytest.raises(TooManyJobsError):
            await group.jobs["a"].start("count", "", {})
        await group.jobs["b"].start("count", "", {})
        assert len(group.records.records) == MOST_KEPT
        assert "a-0000" not in group.records.records
        assert f"a-{MOST_KEPT - 1:04}" in group.records.records


async def test_what_is_done_before_a_job_is_done_where_it_has_room_and_keeps_it(begun):
    """Goes red when it is done first for what is refused then, or when others take the room meanwhile."""
    async with begun(count=Counting()) as group:
        jobs, recorded, may_go_on = group.jobs["a"], [], asyncio.Event()

        async def before():
            recorded.append(len(group.records.records))
            await may_go_on.wait()

        starting = [asyncio.create_task(jobs.start("count", "", {}, before)) for _ in range(MOST_RUNNING)]
        await until(lambda: len(recorded) == MOST_RUNNING)
        with pytest.raises(TooManyJobsError):
            await jobs.start("count", "", {}, before)
        may_go_on.set()
        await asyncio.gather(*starting)
        assert (recorded, jobs.running) == ([0] * MOST_RUNNING, MOST_RUNNING)


async def test_one_that_is_being_taken_up_counts_among_those_that_run(begun, monkeypatch):
    """Goes red when as many as may are begun beside it: while its record is written it is in nobody's count."""
    async with begun(count=Counting()) as group:
        monkeypatch.setattr(module, "BEAT_S", 10**6)
        jobs = group.jobs["a"]
        for _ in range(MOST_RUNNING - 1):
            await jobs.start("count", "", {})
        change_all, asked, may_go_on = group.records.change_all, asyncio.Event(), asyncio.Event()

        async def slow(change):
            asked.set()
            await may_go_on.wait()
            return await change_all(change)

        monkeypatch.setattr(group.records, "change_all", slow)
        lost = JobRecord(id="lost", kind="count", subject="", status="running", started_at="", worker="a")
        group.records.records = {**group.records.records, "lost": lost}
        await asyncio.wait_for(asked.wait(), 30)
        starting = asyncio.create_task(jobs.start("count", "", {}))
        await asyncio.sleep(0)
        may_go_on.set()
        with pytest.raises(TooManyJobsError):
            await starting
        await until(lambda: "lost" in jobs._running)
        assert jobs.running == MOST_RUNNING


async def test_those_who_ask_for_unknown_jobs_at_once_share_the_reading_of_the_topic(begun):
    async with begun(count=Counting()) as group:
        found = await asyncio.gather(*(group.jobs["a"].get(f"x-{number}") for number in range(50)))
        assert found == [None] * 50
        assert group.records.refreshed <= 2


async def test_without_the_topic_nothing_is_begun_and_an_end_is_recorded_when_it_is_back(begun):
    async with begun(count=Counting(5)) as group:
        group.records.is_away = True
        with pytest.raises(NotReadyError):
            await group.jobs["a"].start("count", "", {})
        group.records.is_away = False
        job = await group.jobs["a"].start("count", "", {})
        group.records.is_away = True
        await asyncio.sleep(0)
        group.records.is_away = False
        await until(lambda: group.status(job) == "done")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"j", b"{"),
        (b"k", encode_job(JobRecord(id="j", kind="replay", subject="", status="running", started_at=""))),
        (b"j", b'{"id":"j","kind":"replay","subject":"","status":"paused","started_at":""}'),
        (b"j/", b'{"id":"j/","kind":"replay","subject":"","status":"done","started_at":""}'),
        (
            b"j",
            b'{"id":"j","kind":"replay","subject":"","status":"done","started_at":"","error":"%s"}' % (b"x" * 10**6),
        ),
    ],
)
def test_a_record_of_a_stranger_is_none(key, value):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for people
        decode_job(key, value)


def test_a_record_is_read_as_it_was_written_and_members_of_later_releases_are_ignored():
    record = JobRecord(id="j", kind="replay", subject="s", status="running", started_at="t", progress={"events": 1})
    assert decode_job(b"j", encode_job(record)) == record
    assert decode_job(b"j", encode_job(record)[:-1] + b',"later":1}') == record
