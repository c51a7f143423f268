"""A journal loses its end while workers run: its kind must stop, and goes on once a person has restored it."""

import shutil
from pathlib import Path
from typing import Final

from aiokafka.structs import TopicPartition
from chaos_checker import Report, check, unaccounted
from chaos_commands import Ask, command
from chaos_damage import cut, partition_folder
from chaos_records import Records, home_of
from chaos_sender import Sender
from chaos_workers import Worker, eventually

from annals.workers.tools.broker import Broker

KIND: Final = "barge"
BARGE: Final = "b-1"
ROUNDS: Final = 3
WITHIN_S: Final = 120.0


class Truncation:
    """One barge, whose journal is cut and restored."""

    def __init__(self, broker: Broker, prefix: str, partitions: int, folder: Path) -> None:
        self._broker = broker
        self._prefix = prefix
        self._topic = f"{prefix}events.{KIND}"
        self._partition = home_of(BARGE.encode(), partitions)
        self._copy = folder / "copy-of-the-journal"
        self._sender = Sender(broker.bootstrap, prefix)

    def fill(self) -> None:
        """Have some transactions decided, one after the other."""
        self._ask(command(KIND, BARGE, "b-open", "OpenWagon", {"label": BARGE}))
        for turn in range(ROUNDS):
            self._ask(_load(turn))

    def cut(self) -> None:
        """Kill the broker, keep a copy of the partition, cut its last event off, and start the broker again."""
        before = self._events()
        self._broker.kill()
        folder = partition_folder(self._broker, self._topic, self._partition)
        shutil.copytree(folder, self._copy)
        cut(self._broker, self._topic, before[-1], self._partition)
        self._broker.start()
        self._sender.sent_and_known([_load(ROUNDS)])

    def until_told(self, workers: list[Worker]) -> None:
        """Wait until the owner names it; nothing may have been written behind the cut."""
        told = f"write: {KIND}-{self._partition} is stopped: "

        def is_told() -> bool:
            return any(reason.startswith(told) for worker in workers for reason in worker.reasons())

        why = [worker.reasons for worker in workers]
        eventually(is_told, "the cut journal is named", WITHIN_S, lambda: str([each() for each in why]))
        assert len(self._events()) == ROUNDS, "something was written behind the cut"

    def restore(self) -> None:
        """Do what a person does: stop the broker, put the segment back, start it again."""
        self._broker.kill()
        folder = partition_folder(self._broker, self._topic, self._partition)
        shutil.rmtree(folder)
        self._copy.rename(folder)
        self._broker.start()

    def until_answered(self) -> Report:
        """Wait until what came in the meantime is answered, and check everything."""
        with self._read() as records:
            eventually(lambda: not unaccounted(records.read()), "the barge is answered", WITHIN_S)
            return check(records, self._sender.sent)

    def _ask(self, ask: Ask) -> None:
        self._sender.sent_and_known([ask])
        self.until_answered()

    def _events(self) -> list[int]:
        with self._read() as records:
            return [each.offset for each in records.read().by_place[TopicPartition(f"events.{KIND}", self._partition)]]

    def _read(self) -> Records:
        return Records(self._broker.bootstrap, self._prefix, (KIND,)).attach()


def _load(turn: int) -> Ask:
    return command(KIND, BARGE, f"b-load-{turn}", "LoadCrates", {"count": 1})
