"""Runs the real `annals` with a plan: faults at named points, and safety measures taken out. `workers` knows none.

    python chaos_launcher.py PLAN ARGUMENT…

PLAN is JSON: {"kinds": […], "faults": [{"point": …, "action": …, "nth": 1}], "without": […], "session_ms": …,
"fenced_patience_s": …, "store_breaks_at": …, "markers_s": …, "transaction_timeout_ms": …,
"event_batch_bytes": …, "subscriber_batch_bytes": …, "reads": true}. `reads` has the child process that reads
started with the same kinds and sessions. A fault
strikes when the point is passed for the nth time, in any shard: `kill` is SIGKILL, `stop` is SIGSTOP (until somebody
sends SIGCONT), both to itself, so that the point is exact.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

POINTS = ("before send", "between send and commit", "between commit and fold", "inside the fold", "after the fold")


def strike(action: str) -> None:
    """Do to this process what the plan says."""
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action])


class Points:
    """Counts how often each point was passed, and strikes when the plan says so."""

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        self._faults = faults
        self._passed: Counter[str] = Counter()
        if unknown := {fault["point"] for fault in faults} - set(POINTS):
            raise SystemExit(f"no such points: {unknown}")

    def passes(self, point: str) -> None:
        self._passed[point] += 1
        for fault in self._faults:
            if fault["point"] == point and fault.get("nth", 1) == self._passed[point]:
                strike(fault["action"])


def before(owner: Any, name: str, points: Points, point: str) -> None:
    """Pass a point before each call of an asynchronous method."""
    original = getattr(owner, name)

    async def passing(*args: Any, **kwargs: Any) -> Any:
        points.passes(point)
        return await original(*args, **kwargs)

    setattr(owner, name, passing)


def after(owner: Any, name: str, points: Points, point: str) -> None:
    """Pass a point after each call of an asynchronous method that succeeded."""
    original = getattr(owner, name)

    async def passing(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        points.passes(point)
        return result

    setattr(owner, name, passing)


def around_the_fold(points: Points) -> None:
    """Pass a point with half of a batch's changes put together, and one when they are written."""
    from annals.workers.stores import rocks

    original = rocks.RocksStore.apply
    encode = rocks.encode_position

    def halfway(position: Any) -> bytes:
        points.passes("inside the fold")
        return encode(position)

    def applying(store: Any, changes: Any) -> None:
        original(store, changes)
        points.passes("after the fold")

    rocks.encode_position = halfway
    rocks.RocksStore.apply = applying


def break_a_store(nth: int) -> None:
    """Let the nth write to a store fail, and all that follow on the same one: as RocksDB does on a full disk."""
    from annals.workers.stores import rocks

    original, written, broken = rocks.RocksStore.apply, [0], []

    def failing(store: Any, changes: Any) -> None:
        written[0] += 1
        if written[0] == nth:
            broken.append(store)
        if any(store is each for each in broken):
            raise RuntimeError("IO error: No space left on device")
        original(store, changes)

    rocks.RocksStore.apply = failing


def install(faults: list[dict[str, Any]]) -> None:
    """Put the points into the write path."""
    from annals.workers.kafka.write.journal import KafkaShardLog
    from annals.workers.kafka.write.transaction import TransactionalWriter

    points = Points(faults)
    before(KafkaShardLog, "commit", points, "before send")
    before(TransactionalWriter, "_end", points, "between send and commit")
    after(KafkaShardLog, "commit", points, "between commit and fold")
    around_the_fold(points)


def tell_on_request() -> None:
    """Write where each task waits, on SIGUSR1."""
    from annals.workers.worker import Worker

    original = Worker.run

    async def running(worker: Any) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, write_tasks)
        await original(worker)

    Worker.run = running


def write_tasks() -> None:
    for task in asyncio.all_tasks():
        places, waiting = [], task.get_coro()
        while waiting is not None:
            frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
            frame = frame or getattr(waiting, "ag_frame", None)
            if frame is None:
                places.append(repr(waiting)[:200])
                break
            places.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_name}")
            waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
        sys.stderr.write(f"task {task.get_name()}: {' < '.join(reversed(places))}\n")
    sys.stderr.flush()


def main() -> None:
    plan = json.loads(sys.argv[1])
    from annals.agents import registered as registry
    from annals.workers.kafka.group import transport

    if kinds := plan.get("kinds"):
        everything = registry.deciders()
        chosen = {kind: everything[kind] for kind in kinds}
        registry.deciders.cache_clear()
        registry.REGISTRY = {kind: decider for kind, decider in registry.REGISTRY.items() if kind in chosen}
    if session_ms := plan.get("session_ms"):
        transport.SESSION_TIMEOUT_MS = session_ms
        transport.HEARTBEAT_INTERVAL_MS = session_ms // 4
    if plan.get("reads"):
        from annals.workers import reader_process

        child = str(Path(__file__).with_name("chaos_reader.py"))
        reader_process.PROGRAM = ("-P", child, json.dumps({"kinds": kinds, "session_ms": session_ms}))
    if patience_s := plan.get("fenced_patience_s"):
        from annals.agents.writing.shards import shard

        shard.FENCED_PATIENCE_S = patience_s
    if "markers_s" in plan:
        from annals.workers.kafka.write import transaction

        transaction.MARKERS_S = plan["markers_s"]
    if timeout_ms := plan.get("transaction_timeout_ms"):
        from annals.workers.kafka.write import transaction

        transaction.TRANSACTION_TIMEOUT_MS = timeout_ms
    if size := plan.get("event_batch_bytes"):
        from annals.workers.writing import shards

        shards.LIMITS["events"] = size
    if size := plan.get("subscriber_batch_bytes"):
        from annals.workers.publishing import log

        log.SUBSCRIBER_TOPIC_BYTES = size
    if plan.get("without"):
        import chaos_measures

        for measure in plan["without"]:
            take_out: Any = chaos_measures.MEASURES[measure]
            take_out()
    if nth := plan.get("store_breaks_at"):
        break_a_store(nth)
    install(plan.get("faults", []))
    tell_on_request()
    from annals.workers.cli import main as annals

    sys.argv = ["annals", *sys.argv[2:]]
    annals()


if __name__ == "__main__":
    main()
