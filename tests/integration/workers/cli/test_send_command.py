"""`annals send` as a process: answers in the order of the input, as they come, and each exit status."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from annals.topics.keys import partition_of
from chained import make_topics
from processes import ENTRY_POINT, own_environment
from scripted_worker import ScriptedWorker, answering, command_id, no, yes

pytestmark = pytest.mark.broker

WITHIN_S = 300


def line(name: str = "c-1", aggregate_id: str = "p-1", **members: Any) -> bytes:
    command = {"kind": "person", "id": name, "type": "T", "aggregate_id": aggregate_id, "data": {}, **members}
    return json.dumps(command).encode() + b"\n"


class Sender:
    """The command line against one set of topics."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        self._environment = own_environment(ANNALS_BOOTSTRAP_SERVERS=bootstrap, ANNALS_TOPIC_PREFIX=prefix)

    @asynccontextmanager
    async def started(self, *words: str) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            ENTRY_POINT, "send", *words, env=self._environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=1 << 24
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def send(self, said: bytes, *words: str) -> tuple[int | None, list[dict[str, Any]], str]:
        """Exit status, the answers, and what was said on standard error."""
        async with self.started(*words) as process:
            printed, errors = await process.communicate(said)
        return process.returncode, [json.loads(each) for each in printed.splitlines()], errors.decode()

    def answered(self, *reply: Any) -> Any:
        return answering(self.bootstrap, self.prefix, *reply)


@pytest.fixture
async def sender(bootstrap: str, topic_prefix: str) -> Sender:
    await make_topics(bootstrap, [f"{topic_prefix}commands.person", f"{topic_prefix}outcomes.person"], 2)
    return Sender(bootstrap, topic_prefix)


async def test_outcomes_come_in_the_order_of_the_input(sender: Sender) -> None:
    async def backwards(record: Any, worker: ScriptedWorker) -> None:
        if len(worker.seen) == 4:
            for each in reversed(worker.seen):
                await worker.answer(each, yes(each))

    async with sender.answered(backwards):
        status, answers, _ = await sender.send(b"".join(line(f"c-{n}", f"p-{n}") for n in range(4)))
    assert status == 0
    assert [each["command_id"] for each in answers] == ["c-0", "c-1", "c-2", "c-3"]


async def test_every_line_is_answered_and_the_worst_decides_the_status(sender: Sender) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, no(record) if command_id(record) == "c-no" else yes(record))

    said = [line("c-yes"), b"\n", line("c-no"), b"nonsense\n", line(kind="car"), line("c-big", data={"x": "y" * 10**6})]
    async with sender.answered(reply):
        status, answers, errors = await sender.send(b"".join(said))
        assert (status, errors) == (2, "")
        assert [each.get("status", each.get("line")) for each in answers] == ["accepted", "rejected", 4, 5, 6]
        assert "not JSON" in answers[2]["error"]
        assert "there is no kind 'car'" in answers[3]["error"]
        assert "too_large" in answers[4]["error"]
        assert (await sender.send(b"".join(said[:3])))[0] == 1
        assert (await sender.send(b"".join(said[:2])))[0] == 0


async def test_no_answer_in_time_is_unknown_and_2(sender: Sender) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        if command_id(record) != "c-2":
            await worker.answer(record, yes(record))

    async with sender.answered(reply):
        status, answers, said = await sender.send(line("c-1") + line("c-2") + line("c-3"), "--timeout", "10")
    assert status == 2
    assert "no outcome of 1 of the commands came within 10 s" in said
    assert f"({sender.prefix!r})" in said
    assert "/health/ready" in said
    assert answers[1] == {"command_id": "c-2", "status": "unknown"}
    assert [each["status"] for each in answers] == ["accepted", "unknown", "accepted"]


async def test_a_line_without_an_id_gets_a_uuid_of_version_7(sender: Sender) -> None:
    async with sender.answered() as worker:
        _, answers, _ = await sender.send(line(id=None))
    (record,) = worker.seen
    assert answers[0]["command_id"] == command_id(record)
    assert answers[0]["command_id"][14] == "7"


async def test_an_outcome_is_there_as_soon_as_it_came(sender: Sender) -> None:
    async with sender.answered(), sender.started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in ("c-1", "c-2"):
            process.stdin.write(line(name))
            await process.stdin.drain()
            assert json.loads(await process.stdout.readline())["command_id"] == name  # while the input is open
        process.stdin.write(b"nonsense\n")
        await process.stdin.drain()
        assert json.loads(await process.stdout.readline())["line"] == 3
        process.stdin.close()
        assert await process.wait() == 2


async def test_more_lines_than_are_in_flight_at_once_come_from_a_file(sender: Sender, tmp_path: Path) -> None:
    file = tmp_path / "commands.jsonl"
    file.write_bytes(b"".join(line(f"c-{n}", f"p-{n % 7}") for n in range(6_000)))
    async with sender.answered(in_bulk):
        status, answers, _ = await sender.send(b"", str(file), "--json")
    assert status == 0
    assert [each["command_id"] for each in answers] == [f"c-{n}" for n in range(6_000)]


async def in_bulk(record: Any, worker: ScriptedWorker) -> None:
    """Answer without waiting until that is written."""
    from annals.topics.headers import outcome_headers

    headers = outcome_headers(command_id(record), record.offset)
    await worker.producer.send(worker.outcomes, yes(record), record.key, record.partition, headers=headers)


async def test_an_outcome_over_several_lines_is_printed_as_one(sender: Sender) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, json.dumps(json.loads(yes(record)), indent=2).encode())

    async with sender.answered(reply):
        status, answers, _ = await sender.send(line())
    assert (status, len(answers)) == (0, 1)


async def test_nothing_to_send_is_0(sender: Sender) -> None:
    assert await sender.send(b"") == (0, [], "")


async def test_a_kind_without_topics_is_2_and_what_was_sent_is_answered(sender: Sender) -> None:
    async with sender.answered():
        status, answers, errors = await sender.send(line("c-1") + line(kind="organization"))
    assert (status, [each["command_id"] for each in answers]) == (2, ["c-1"])
    assert "there is no topic" in errors
    assert "annals topics create" in errors


async def test_a_file_that_is_not_there_is_2(sender: Sender, tmp_path: Path) -> None:
    status, answers, errors = await sender.send(b"", str(tmp_path / "none"))
    assert (status, answers) == (2, [])
    assert "No such file or directory" in errors


async def test_no_broker_is_2_in_one_line(tmp_path: Path) -> None:
    status, answers, errors = await Sender("127.0.0.1:1", "").send(line())
    assert (status, answers) == (2, [])
    assert errors.startswith("annals: no Kafka broker answers")
    assert errors.count("\n") == 1


async def test_ctrl_c_ends_it_while_it_waits(sender: Sender) -> None:
    async with sender.answered(), sender.started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line())
        await process.stdin.drain()
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors


async def test_whoever_reads_no_more_is_no_failure_of_the_program(sender: Sender) -> None:
    async with sender.answered(in_bulk), sender.started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line())
        await process.stdin.drain()
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        process.stdin.write(b"".join(line(f"c-{n}") for n in range(2_000)))
        process.stdin.close()
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()
        assert await process.wait() == 2


async def test_what_the_broker_refuses_is_an_error_of_its_line(bootstrap: str, topic_prefix: str) -> None:
    await make_topics(bootstrap, [f"{topic_prefix}outcomes.person"], 2)
    await make_topics(bootstrap, [f"{topic_prefix}commands.person"], 2, {"max.message.bytes": "1000"})
    sender = Sender(bootstrap, topic_prefix)
    assert partition_of(b"p-1", 2) != partition_of(b"p-3", 2)  # a broker refuses batches, not records
    async with sender.answered():
        status, answers, _ = await sender.send(line("c-1", "p-1", data={"x": "y" * 2_000}) + line("c-2", "p-3"))
    assert status == 2
    assert answers[0]["line"] == 1
    assert "the broker refused it" in answers[0]["error"]
    assert answers[1]["status"] == "accepted"
