"""Faults at random, one after the other, while commands arrive: drawn from a seed, so that a run can be had again."""

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Final, Self

from aiokafka.errors import KafkaError
from chaos_commands import mix
from chaos_hostile import hostile, send_bomb
from chaos_launcher import POINTS
from chaos_proxy import END_TXN, PRODUCE, TXN_OFFSET_COMMIT, Lie, Proxy
from chaos_scenario import Scenario, assert_clean, committed, delete_below
from chaos_truncation import Truncation
from chaos_workers import SESSION_MS, Worker, eventually
from confluent_kafka import Consumer, KafkaException

from annals.workers.tools.broker import Broker

SLOTS: Final = 3
BURST: Final = 60
BURST_EVERY_S: Final = 0.2
SEEDS_LAST: Final = 3_000  # commands, and then other aggregates: none grows for ever
CALM_S: Final = (0.5, 3.0)  # between two faults
LONGER_THAN_A_SESSION_S: Final = SESSION_MS / 1000 + 1.5
LONG_AWAY_AFTER_S: Final = 240.0  # a soak of this length has the brokers away for a minute, once
TRUNCATED_FROM_S: Final = 60.0  # a soak of this length cuts a journal, once
STAYS_S: Final = (2.0, 5.0)  # a member of another assignor
BLOCK: Final = 64
REQUESTS: Final = (PRODUCE, TXN_OFFSET_COMMIT, END_TXN)
EVENTS_LIMIT: Final = 4_194_304


class Soak:
    """Workers in a few slots, a sender that never stops, and faults."""

    def __init__(self, scenario: Scenario, broker: Broker, proxy: Proxy, seed: int, partitions: int) -> None:
        self.faults: Counter[str] = Counter()
        self._scenario = scenario
        self._broker = broker
        self._proxy = proxy
        self._partitions = partitions
        self._draw = random.Random(seed)
        self._seed = seed
        self._over = threading.Event()
        self._slots: list[Worker] = []
        self._was_long_away = False
        self._long_away_s = 0.0
        self._turn = 0

    def run(self, seconds: float) -> None:
        """Break things for so long, and leave all workers running and all lies forgotten."""
        self._long_away_s = 60.0 if seconds >= LONG_AWAY_AFTER_S else 0.0
        self._slots = [self._start(slot) for slot in range(SLOTS)]
        for worker in self._slots:
            worker.until_ready()
        sending = threading.Thread(target=self._send, name="sender")
        sending.start()
        try:
            self._strike_for(seconds / 2)
            if seconds >= TRUNCATED_FROM_S:
                self._strike(Soak.journal_cut_and_restored)
            self._strike_for(seconds / 2)
        finally:
            self._over.set()
            sending.join()
            self._proxy.forget()
            self._broker.start()
        self._revive()

    def _strike_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._strike(self._draw.choice(FAULTS))
            self._over.wait(self._draw.uniform(*CALM_S))

    def _strike(self, fault: Callable[[Self], bool | None]) -> None:
        """Strike once; a fault that says no had nothing to strike."""
        if fault(self) is not False:
            self.faults[fault.__name__.replace("_", " ")] += 1
        self._revive()

    def _send(self) -> None:
        sent, asks = SEEDS_LAST, iter(())
        while not self._over.is_set():
            if sent >= SEEDS_LAST:
                self._seed += 1
                sent, asks = 0, mix(self._seed, self._partitions)
            self._scenario.sender.send(islice(asks, BURST))
            self._scenario.sender.send_unknown_again()
            sent += BURST
            self._over.wait(BURST_EVERY_S)

    def _start(self, slot: int, **plan: object) -> Worker:
        return self._scenario.start(f"slot{slot}", plan, BOOTSTRAP_SERVERS=self._proxy.bootstrap)

    def _revive(self) -> None:
        for slot, worker in enumerate(self._slots):
            if worker.process.poll() is not None:
                self._slots[slot] = self._start(slot)

    def _slot(self) -> int:
        return self._draw.randrange(SLOTS)

    # --- Faults ------------------------------------------------------------------------------------------------------

    def killed(self) -> None:
        self._slots[self._slot()].kill()

    def told_to_stop(self) -> None:
        self._slots[self._slot()].signal(signal.SIGTERM).until_over()

    def frozen_longer_than_the_session(self) -> None:
        worker = self._slots[self._slot()].signal(signal.SIGSTOP)
        self._over.wait(LONGER_THAN_A_SESSION_S)
        worker.signal(signal.SIGCONT)

    def killed_at_a_named_point(self) -> None:
        slot = self._slot()
        self._slots[slot].kill()
        fault = {"point": self._draw.choice(POINTS), "action": "kill", "nth": self._draw.randrange(1, 15)}
        self._slots[slot] = self._start(slot, faults=[fault])

    def rebalance_storm(self) -> None:
        for turn in range(3):
            guest = self._scenario.start(f"guest{turn}", None, BOOTSTRAP_SERVERS=self._proxy.bootstrap)
            self._over.wait(self._draw.uniform(1.0, 3.0))
            guest.signal(self._draw.choice([signal.SIGKILL, signal.SIGTERM]))

    def broker_killed_and_restarted(self) -> None:
        self._broker.kill()
        self._broker.start()

    def broker_out_of_reach(self) -> None:
        away_s = self._draw.uniform(1.0, 6.0)
        if self._long_away_s and not self._was_long_away:
            away_s, self._was_long_away = self._long_away_s, True
        self._proxy.go_away()
        self._over.wait(away_s)
        self._proxy.come_back()

    def answer_lost(self) -> None:
        self._proxy.tell(Lie(self._draw.choice(REQUESTS), "answer", "cut"))

    def request_lost(self) -> None:
        self._proxy.tell(Lie(self._draw.choice(REQUESTS), "request", "cut"))

    def stray_commit(self) -> None:
        known = [name for name in list(self._proxy.last_ends) if self._scenario.prefix in name]
        if known:
            name = self._draw.choice(sorted(known))
            api = self._draw.choice(REQUESTS[:-1])
            self._proxy.tell(Lie(api, "answer", "before", then=lambda: self._proxy.stray(name)))

    def record_refused(self) -> None:
        self._scenario.limit_events(200)
        self._over.wait(1.0)
        self._scenario.limit_events(EVENTS_LIMIT)

    def data_directory_deleted(self) -> None:
        slot = self._slot()
        self._slots[slot].kill()
        shutil.rmtree(self._scenario.data_dir(f"slot{slot}"), ignore_errors=True)

    def data_directory_restored_from_an_older_copy(self) -> None:
        slot = self._slot()
        self._slots[slot].kill()
        folder, copy = self._scenario.data_dir(f"slot{slot}"), self._scenario.folder / f"copy{slot}"
        if copy.exists():
            shutil.rmtree(folder, ignore_errors=True)
            copy.rename(folder)
        elif folder.exists():
            shutil.copytree(folder, copy)

    def commands_deleted_once_decided(self) -> bool:
        """Delete what lies below the committed positions, as retention does. The checker has read it before."""
        scenario = self._scenario
        read = {f"{scenario.prefix}commands.{kind}" for kind in scenario.records.kinds}
        try:
            found = committed(self._broker.bootstrap, f"{scenario.prefix}annals")
            below = {place: offset for place, offset in found.items() if place.topic in read and offset > 0}
            scenario.read()
            delete_below(self._broker.bootstrap, below)
        except (KafkaException, KafkaError, TimeoutError):  # the broker was killed just now, and is not found again yet
            return False
        return bool(below)

    def block_of_a_store_damaged(self) -> bool:
        slot = self._slot()
        self._slots[slot].kill()
        files = sorted(self._scenario.data_dir(f"slot{slot}").rglob("*.sst"))
        if not files:
            return False
        file = self._draw.choice(files)
        content = bytearray(file.read_bytes())
        at = self._draw.randrange(max(1, len(content) - BLOCK))
        content[at : at + BLOCK] = bytes(byte ^ 0xFF for byte in content[at : at + BLOCK])
        file.write_bytes(content)
        return True

    def hostile_input(self) -> None:
        self._turn += 1
        self._scenario.sender.send(hostile(self._turn))
        topic = f"{self._scenario.prefix}commands.person"
        send_bomb(self._broker.bootstrap, topic, f"bomb-{self._turn}".encode())

    def foreign_member_of_the_group(self) -> None:
        self._slots[self._slot()].until_ready()
        foreign = Consumer(
            {
                "bootstrap.servers": self._broker.bootstrap,
                "group.id": f"{self._scenario.prefix}annals",
                "partition.assignment.strategy": "range",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        try:
            foreign.subscribe([f"{self._scenario.prefix}commands.person"])
            foreign.poll(self._draw.uniform(*STAYS_S))
        finally:
            foreign.close()

    def journal_cut_and_restored(self) -> None:
        """A kind of its own loses the end of its journal, stops, and goes on once a person has restored it."""
        scenario = self._scenario
        truncation = Truncation(self._broker, scenario.prefix, self._partitions, scenario.folder)
        truncation.fill()
        truncation.cut()
        truncation.until_told(self._slots)
        truncation.restore()
        for worker in self._slots:
            worker.signal(signal.SIGTERM).until_over()
        self._revive()
        eventually(lambda: all(worker.is_ready() for worker in self._slots), "all are ready", told=scenario.told)
        assert_clean(truncation.until_answered())


FAULTS: Final = (
    Soak.killed,
    Soak.told_to_stop,
    Soak.frozen_longer_than_the_session,
    Soak.killed_at_a_named_point,
    Soak.rebalance_storm,
    Soak.broker_killed_and_restarted,
    Soak.broker_out_of_reach,
    Soak.answer_lost,
    Soak.request_lost,
    Soak.stray_commit,
    Soak.record_refused,
    Soak.data_directory_deleted,
    Soak.data_directory_restored_from_an_older_copy,
    Soak.commands_deleted_once_decided,
    Soak.block_of_a_store_damaged,
    Soak.hostile_input,
    Soak.foreign_member_of_the_group,
)
