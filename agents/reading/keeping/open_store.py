"""A reading store while it is open: questions run on views of it, and it is closed behind the last of them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from annals.agents.ports import StoreDamagedError, StoreError
from annals.agents.reading.ports import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from structlog.typing import FilteringBoundLogger

    from annals.agents.ports import JournalRecord, Position
    from annals.agents.reading.ports import ReadingStore, ReadView

T = TypeVar("T")


class Closes(Protocol):
    """What closes a store."""

    async def close(self, store: ReadingStore) -> None:
        """Close it."""


class OpenStore:
    """Holds a store, or none. name: whose it is, in messages."""

    def __init__(
        self, stores: Closes, name: str, on_failure: Callable[[StoreError], None], log: FilteringBoundLogger
    ) -> None:
        """Take what closes stores, and who acts on the failure that a question meets."""
        self._stores = stores
        self._name = name
        self._on_failure = on_failure
        self._log = log
        self._asked = 0
        self._unasked = asyncio.Event()
        self._unasked.set()
        self.store: ReadingStore | None = None

    async def ask(self, question: Callable[[ReadView], T], why_not: Callable[[], str], *, in_thread: bool = True) -> T:
        """Answer a question. why_not: why there is no store.

        Raises:
            NotReadyError: there is no store, it is damaged, or the machine lacks what it takes to read it.
        """
        if not in_thread:
            return self.look(question, why_not)
        with self._opened(why_not) as store:
            return await self._ask_in_thread(store, question)

    def look(self, question: Callable[[ReadView], T], why_not: Callable[[], str]) -> T:
        """Answer a short question at once. why_not: why there is no store.

        Raises:
            NotReadyError: there is no store, it is damaged, or the machine lacks what it takes to read it.
        """
        with self._opened(why_not) as store, store.held() as rows:  # nothing is waited for: nobody closes it meanwhile
            return question(rows)

    def write(self, rows: Mapping[bytes, bytes | None], why_not: Callable[[], str]) -> None:
        """Write rows at once. why_not: why there is no store.

        Raises:
            NotReadyError: there is no store, or it cannot be written.
        """
        with self._opened(why_not) as store:
            store.apply(rows)

    @contextmanager
    def _opened(self, why_not: Callable[[], str]) -> Iterator[ReadingStore]:
        store = self.store
        if store is None:
            raise NotReadyError(why_not())
        try:
            yield store
        except StoreError as error:
            self._on_failure(error)
            is_damaged = isinstance(error, StoreDamagedError)
            why = "is damaged and is built anew" if is_damaged else f"cannot be used: {error}"
            raise NotReadyError(f"{self._name}: the store {why}") from error

    def _ask_in_thread(self, store: ReadingStore, question: Callable[[ReadView], T]) -> asyncio.Future[T]:
        """Whoever asked may go before the thread ends, which reads the store as long as it goes on."""
        with store.view() as view:
            answering = asyncio.get_running_loop().run_in_executor(None, question, view)
        self._asked += 1
        self._unasked.clear()
        answering.add_done_callback(self._answered)
        return asyncio.shield(answering)

    def _answered(self, _answering: Any) -> None:
        self._asked -= 1
        if not self._asked:
            self._unasked.set()

    async def close(self) -> None:
        """Close the store as soon as the questions to it are answered."""
        store, self.store = self.store, None
        if store is None:
            return
        await self._unasked.wait()
        try:
            await self._stores.close(store)
        except StoreError as error:  # it can be folded anew
            self._log.warning("the reading store could not be closed", reason=str(error))


async def is_fold_of(
    position: Position, end: int, record_at: Callable[[int, bytes], Awaitable[JournalRecord | None]]
) -> bool:
    """Whether the last record of a store is in the journal where the store says. end: where the journal ends."""
    if position.last_offset < 0:
        return True
    if position.offset > end:
        return False
    return position.stands_at(await record_at(position.last_offset, position.last_cid))
