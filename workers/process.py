"""What the processes of a worker have in common: a stop that is heard everywhere, a folder, and an app that may end."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.waiting import ended
from annals.workers.data_folder import UnusableFolderError
from annals.workers.kafka.admin.provisioning import BrokersUnreachableError
from annals.workers.overdue import Overdue, waiting

if TYPE_CHECKING:
    from annals.workers.app import AnnalsApp
    from annals.workers.data_folder import DataFolder
    from annals.workers.kafka.group.membership import Membership
    from annals.workers.settings import Settings
    from annals.workers.web.server import WebServer

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
STEADY_S: Final = 60.0  # an app that ran for so long may start again at once: each start is a rebalance for the others
CLAIM_WITHIN_S: Final = 10.0  # a lock, an address: a worker that ends needs about as long at the most
CLAIM_LOOK_S: Final = 0.2
STOP_WITHIN_S: Final = 15.0  # in which Faust stops its agents and the consumer leaves the group
REQUEST_TIMEOUT_MS: Final = 15_000  # longer than a transaction may last, so that an answer that comes is not missed
GC_THRESHOLDS: Final = (100_000, 20, 20)  # a batch makes tens of thousands of objects that live as long as it does
# None: asyncio passes over such addresses in later releases of Python, and says that there was no other.
OF_ANOTHER_MACHINE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, None)
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class CannotStartError(Exception):
    """The worker cannot start as it is set up; the message says what to do."""


class Stop:
    """The end of a process, as it was asked for: every wait ends with it."""

    def __init__(self) -> None:
        """Nobody has asked for it yet."""
        self._asked = asyncio.Event()
        self._overdue: Overdue | None = None

    def is_asked(self) -> bool:
        """Whether the process is to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Have the process stop."""
        self._asked.set()

    def told(self) -> None:
        """Have the process stop, as somebody outside wants it: it has its time for that (`annals.workers.overdue`)."""
        if self._overdue is None:
            self._overdue = Overdue(asyncio.get_running_loop())
            self._overdue.start()
        self.ask()

    def over(self) -> None:
        """Take that the process has stopped, but for what nobody waits for."""
        if self._overdue is not None:
            self._overdue.over()

    def hear(self, *signals: signal.Signals) -> None:
        """Take these signals for it, unless they are ignored, as SIGHUP is under nohup."""
        loop = asyncio.get_running_loop()
        for number in signals:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.told)

    async def wait(self, seconds: float) -> None:
        """Wait, at most until the stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return

    async def first_of(self, *tasks: asyncio.Task[Any]) -> set[asyncio.Task[Any]]:
        """Wait until one of these tasks ends or the stop; return those that have ended by themselves."""
        stopping = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(stopping)
        return {task for task in tasks if task.done()}

    async def claims(self, folder: DataFolder) -> bool:
        """Lock a data folder, waiting a moment for a worker that ends; False: the stop came before.

        Raises:
            CannotStartError: the folder cannot be used, or another process keeps it.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLAIM_WITHIN_S
        try:
            while not self.is_asked():
                if folder.claim():
                    return True
                if loop.time() > deadline:
                    raise CannotStartError(folder.in_use())
                await self.wait(CLAIM_LOOK_S)
        except UnusableFolderError as error:
            raise CannotStartError(str(error)) from error
        return False

    async def until_end_of(self, app: AnnalsApp, starting: asyncio.Task[None], *others: asyncio.Task[Any]) -> None:
        """Wait until an app has crashed, the group refuses it for good, one of the other tasks ends, or the stop.

        Raises:
            CannotStartError: the group refuses this worker, as it or the brokers are set up, for good.
        """
        membership: Membership = app.membership
        crashed = asyncio.create_task(app._crashed.wait())  # noqa: SLF001 - mode offers no other way to wait for it
        refused = asyncio.create_task(membership.is_hopeless.wait())
        try:
            over = await self.first_of(starting, crashed, refused, *others)
            if starting in over:
                await starting
                over = await self.first_of(crashed, refused, *others)
            if refused in over:
                raise CannotStartError(membership.problem or "")
            if crashed in over:
                log.error("the app crashed; starting it again", reason=str(app.crash_reason))
        finally:
            await ended(crashed, refused, *others)


def tune() -> None:
    """Have the garbage collector look at what is new alone, and seldom."""
    gc.freeze()  # what the imports left is for ever; the collector need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)


def why_unreachable(error: BaseException, servers: str) -> str:
    """Return why the brokers gave no answer, as a reason of readiness."""
    is_explained = isinstance(error, BrokersUnreachableError)
    return str(error) if is_explained else f"no answer from the Kafka brokers at {servers}"


async def listening(web: WebServer, settings: Settings) -> str:
    """Start a web server; return its address.

    Raises:
        CannotStartError: the address cannot be used.
    """
    try:
        port = await web.start()
    except OSError as error:
        why = cannot_listen(error, settings.web_host, settings.web_port, "web")
        raise CannotStartError(f"cannot listen on {why}") from error
    return f"http://{host_and_port(settings.web_host, port)}"


def cannot_listen(error: OSError, host: str, port: int, of: str) -> str:
    """Return an address, why nobody can listen there, and which setting of it to change; of: `web` or `api`."""
    said = f"{host_and_port(host, port)}: {error.strerror or error}"
    if isinstance(error, socket.gaierror) or error.errno in OF_ANOTHER_MACHINE:
        return f"{said}. ANNALS_{of.upper()}_HOST must be a name or an address of this machine."
    return f"{said}. Choose another port with --{of}-port or ANNALS_{of.upper()}_PORT (0: a free one)."


def host_and_port(host: str, port: int) -> str:
    """Return an address as URLs have it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def stopped(app: AnnalsApp) -> None:
    """Stop an app; one that does not end must not keep the process.

    It is not waited for then, not even until it has taken its cancellation: Faust's services suppress that where they
    wait for others, and go on waiting.
    """
    stopping = asyncio.create_task(app.stop(), name="stop of the app")
    await asyncio.wait({stopping}, timeout=STOP_WITHIN_S)
    if not stopping.done():
        log.error("the app did not stop in time", seconds=STOP_WITHIN_S, waiting=waiting(asyncio.get_running_loop()))
        stopping.cancel()
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.error("the app stopped with an error", exc_info=error)
