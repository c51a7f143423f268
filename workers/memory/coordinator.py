"""The transaction coordinator in memory: transactional ids with their producers, epochs and transactions.

Source: KIP-98, KIP-890; Kafka's TransactionCoordinator and TransactionMetadata. A transaction that is to end is
prepared first; its partitions get their markers one by one, as `settle` lets them, and meanwhile the coordinator is
busy with this id.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.workers.memory.codes import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    Partition = tuple[str, int]
    Settle = Callable[[Callable[[], None]], None]
    Mark = Callable[[Partition, int, int, bool], None]  # partition or group, producer, epoch, whether to commit

LAST_EPOCH: Final = (1 << 15) - 2  # one is kept for the fence


class State(Enum):
    """Where a transactional id stands."""

    EMPTY = auto()
    ONGOING = auto()
    PREPARED = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Identity(NamedTuple):
    """Who may write under a transactional id."""

    producer_id: int
    epoch: int


class _Transaction:
    __slots__ = ("identity", "partitions", "since", "state", "timeout_s", "waiting")

    def __init__(self, identity: Identity, timeout_s: float) -> None:
        self.identity = identity
        self.timeout_s = timeout_s
        self.state = State.EMPTY
        self.partitions: dict[Partition, None] = {}
        self.since = 0.0
        self.waiting = 0


class Coordinator:
    """All transactional ids of a cluster."""

    def __init__(self, mark: Mark, settle: Settle, now: Callable[[], float]) -> None:
        """Take what writes a marker, when it may be written, and the time in seconds."""
        self._mark = mark
        self._settle = settle
        self._now = now
        self._transactions: dict[str, _Transaction] = {}
        self._producers = 0

    def init(self, transactional_id: str, timeout_s: float) -> tuple[Code, Identity]:
        """Give out the next epoch, which refuses all before it; first end what is under way, and ask to be asked again.

        CONCURRENT_TRANSACTIONS: the transaction of the owner before is being ended.
        """
        none = Identity(-1, -1)
        found = self._transactions.get(transactional_id)
        if found is None:
            found = self._transactions[transactional_id] = _Transaction(self._new(), timeout_s)
            return Code.NONE, found.identity
        if found.state is State.PREPARED:
            return Code.CONCURRENT_TRANSACTIONS, none
        if found.state is State.ONGOING:
            self._fence(found)
            return Code.CONCURRENT_TRANSACTIONS, none
        found.identity, found.timeout_s, found.state = self._next(found.identity), timeout_s, State.EMPTY
        return Code.NONE, found.identity

    def check(self, transactional_id: str, identity: Identity) -> Code:
        """Say whether who asks has the id, and the coordinator has time."""
        found = self._transactions.get(transactional_id)
        if found is None or found.identity.producer_id != identity.producer_id:
            return Code.INVALID_PRODUCER_ID_MAPPING
        if found.identity.epoch != identity.epoch:
            return Code.PRODUCER_FENCED
        return Code.CONCURRENT_TRANSACTIONS if found.state is State.PREPARED else Code.NONE

    def add(self, transactional_id: str, identity: Identity, partition: Partition) -> Code:
        """Make a partition part of the transaction, which begins with the first one."""
        code = self.check(transactional_id, identity)
        if code:
            return code
        found = self._transactions[transactional_id]
        if found.state is not State.ONGOING:
            found.state, found.since, found.partitions = State.ONGOING, self._now(), {}
        found.partitions[partition] = None
        return Code.NONE

    def verify(self, transactional_id: str, identity: Identity, partition: Partition) -> Code:
        """Say whether a partition is part of the transaction."""
        code = self.check(transactional_id, identity)
        if code:
            return code
        found = self._transactions[transactional_id]
        is_part = found.state is State.ONGOING and partition in found.partitions
        return Code.NONE if is_part else Code.INVALID_TXN_STATE

    def end(self, transactional_id: str, identity: Identity, *, commits: bool, renews: bool) -> tuple[Code, Identity]:
        """End the transaction; in version 2 (renews) return who may write the next one."""
        found = self._transactions.get(transactional_id)
        if found is None or found.identity.producer_id != identity.producer_id:
            return Code.INVALID_PRODUCER_ID_MAPPING, identity
        ended = State.COMMITTED if commits else State.ABORTED
        is_over = found.state in {State.COMMITTED, State.ABORTED}
        is_again = renews and is_over and identity.epoch + 1 == found.identity.epoch
        if found.identity.epoch != identity.epoch and not is_again:
            return Code.PRODUCER_FENCED, identity
        if found.state is State.PREPARED:
            return Code.CONCURRENT_TRANSACTIONS, identity
        if found.state is not State.ONGOING and (commits or not renews or is_again):
            is_known = found.state is ended and (is_again or not renews)
            return (Code.NONE if is_known else Code.INVALID_TXN_STATE), found.identity
        if found.state is not State.ONGOING:
            found.partitions = {}
        if renews:
            found.identity = self._next(found.identity)
        self._prepare(found, identity.producer_id, commits=commits)
        return Code.NONE, found.identity

    def abort_timed_out(self) -> None:
        """End what has been under way for longer than its producer allowed."""
        now = self._now()
        for found in self._transactions.values():
            if found.state is State.ONGOING and now - found.since >= found.timeout_s:
                self._fence(found)

    def _fence(self, found: _Transaction) -> None:
        """Abort, in an epoch that nobody has."""
        found.identity = found.identity._replace(epoch=found.identity.epoch + 1)
        self._prepare(found, found.identity.producer_id, commits=False)

    def _prepare(self, found: _Transaction, producer_id: int, *, commits: bool) -> None:
        found.state, found.waiting = State.PREPARED, len(found.partitions)
        is_same = found.identity.producer_id == producer_id
        epoch = found.identity.epoch if is_same else LAST_EPOCH + 1
        if not found.partitions:
            found.state = State.ABORTED  # version 2 ends a transaction that wrote nothing, too
        for partition in list(found.partitions):
            self._settle(partial(self._write, found, partition, producer_id, epoch, commits))

    def _write(self, found: _Transaction, partition: Partition, producer_id: int, epoch: int, commits: bool) -> None:  # noqa: FBT001 - bound by `partial`
        self._mark(partition, producer_id, epoch, commits)
        found.waiting -= 1
        if not found.waiting:
            found.state = State.COMMITTED if commits else State.ABORTED

    def _new(self) -> Identity:
        self._producers += 1
        return Identity(self._producers, 0)

    def _next(self, identity: Identity) -> Identity:
        return self._new() if identity.epoch >= LAST_EPOCH else identity._replace(epoch=identity.epoch + 1)
