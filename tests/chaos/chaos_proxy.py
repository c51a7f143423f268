"""A TCP proxy before a broker that understands as much of Kafka's protocol as it takes to lie about one request.

Kafka frames (protocol guide, "Request and Response Headers"): four bytes of length; a request then has its API key (2),
version (2) and correlation id (4), a response its correlation id. Answers come in the order of the requests.
"""

import contextlib
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from processes import WITHIN_S

PRODUCE: Final = 0
INIT_PRODUCER_ID: Final = 22
ADD_PARTITIONS: Final = 24
ADD_OFFSETS: Final = 25
END_TXN: Final = 26
TXN_OFFSET_COMMIT: Final = 28
FLEXIBLE_FROM: Final = 3  # the version of EndTxn and of TxnOffsetCommit with which compact forms begin (KIP-482)
HOST: Final = "127.0.0.1"


class EndTxn(NamedTuple):
    """What an EndTxn request asks for."""

    transactional_id: str
    producer_id: int
    epoch: int
    is_commit: bool


@dataclass
class Lie:
    """What happens to the next requests of an API, or to their answers.

    `do`: "cut" loses it, and the connection with it; "hold" does the same for the one who asked, but the broker gets
    the request on `release`; "before" calls `then` before an answer is passed on.
    """

    api: int
    side: str
    do: str
    times: int = 1
    matches: Callable[[bytes], bool] = lambda _: True
    then: Callable[[], None] = lambda: None
    told: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    passed: threading.Event = field(default_factory=threading.Event)

    def until_told(self) -> None:
        """Wait until it has happened as many times as it should."""
        assert self.told.wait(WITHIN_S), f"no request of API {self.api} came in {WITHIN_S:.0f} s"

    def release(self) -> None:
        """Let the broker have what was held, and wait until it has it."""
        self.released.set()
        assert self.passed.wait(WITHIN_S)


class Proxy:
    """Passes everything on, but for the lies that it is told to tell."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.port = port
        self._broker_port = broker_port
        self._lies: list[Lie] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._is_away = False
        self.requests: Counter[int] = Counter()
        self.sent_again: list[EndTxn] = []
        self._ended: dict[str, tuple[EndTxn, bytes]] = {}
        self.last_ends: dict[str, tuple[EndTxn, bytes]] = {}

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        self._listener = socket.create_server((HOST, self.port), backlog=200)
        threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()
        return self

    def stop(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.forget()
        self._cut_all()

    def tell(self, lie: Lie) -> Lie:
        with self._lock:
            self._lies.append(lie)
        return lie

    def forget(self) -> None:
        """Tell no more lies, and let go what is held."""
        with self._lock:
            for lie in self._lies:
                lie.released.set()
            self._lies.clear()
        self._is_away = False

    def go_away(self) -> None:
        """Cut every connection, and cut each new one: the brokers cannot be reached."""
        with self._lock:
            self._is_away = True
        self._cut_all()

    def come_back(self) -> None:
        self._is_away = False

    def _cut_all(self) -> None:
        with self._lock:
            sockets = list(self._open)
        for each in sockets:
            _cut(each)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self._is_away:
                client.close()
                continue
            try:
                broker = socket.create_connection((HOST, self._broker_port))
            except OSError:
                client.close()
                continue
            for each in (client, broker):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:  # one that was asked for just before they went away is cut, too
                is_away = self._is_away
                self._open |= {client, broker}
            _Connection(self, client, broker).start()
            if is_away:
                _cut(client)

    def follow(self, api: int, frame: bytes) -> None:
        """Notice an EndTxn that ends nothing which was begun since the last one."""
        if api == TXN_OFFSET_COMMIT:
            self._ended.pop(_transactional_id(frame)[0], None)
        if api == END_TXN:
            end = end_txn(frame)
            if end.transactional_id in self._ended:
                self.sent_again.append(end)
            self._ended[end.transactional_id] = self.last_ends[end.transactional_id] = end, frame

    def stray(self, transactional_id: str) -> None:
        """Send the last EndTxn of this id once more: as one that was delayed, or doubled, on its way."""
        _, frame = self.last_ends[transactional_id]
        with socket.create_connection((HOST, self._broker_port)) as late:
            late.sendall(frame)
            _frame(late)

    def closed(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(sockets)

    def lie_about(self, api: int, side: str, frame: bytes) -> Lie | None:
        """The lie to tell about this frame, if any; it is used up when it was told as often as it should be."""
        with self._lock:
            for lie in self._lies:
                if (lie.api, lie.side) == (api, side) and lie.times > 0 and lie.matches(frame):
                    lie.times -= 1
                    return lie
        return None


class _Connection:
    """One client's connection and its own to the broker, each pumped by a thread."""

    def __init__(self, proxy: Proxy, client: socket.socket, broker: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._asked: deque[int] = deque()

    def start(self) -> None:
        for pump in (self._requests, self._answers):
            threading.Thread(target=self._run, args=(pump,), name="proxied", daemon=True).start()

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            pump()
        except OSError:
            pass
        finally:
            _cut(self._client)
            _cut(self._broker)
            self._proxy.closed(self._client, self._broker)

    def _requests(self) -> None:
        while (frame := _frame(self._client)) is not None:
            api = struct.unpack_from(">h", frame, 4)[0]
            self._proxy.requests[api] += 1
            self._proxy.follow(api, frame)
            lie = self._proxy.lie_about(api, "request", frame)
            if lie is not None and lie.do == "cut":
                lie.told.set()
                return
            if lie is not None and lie.do == "hold":
                # The broker gets it later, on a connection of its own: as a packet that took another way.
                threading.Thread(target=self._later, args=(frame, lie), daemon=True).start()
                lie.told.set()
                return
            self._asked.append(api)
            self._broker.sendall(frame)

    def _later(self, frame: bytes, lie: Lie) -> None:
        lie.released.wait(WITHIN_S)
        with socket.create_connection((HOST, self._proxy._broker_port)) as late:
            late.sendall(frame)
            _frame(late)
        lie.passed.set()

    def _answers(self) -> None:
        while (frame := _frame(self._broker)) is not None:
            api = self._asked.popleft()
            lie = self._proxy.lie_about(api, "answer", frame)
            if lie is not None and lie.do == "cut":
                lie.told.set()
                return
            if lie is not None and lie.do == "before":
                lie.then()
                lie.told.set()
            self._client.sendall(frame)


def end_txn(frame: bytes) -> EndTxn:
    """Read an EndTxn request."""
    name, at = _transactional_id(frame)
    producer_id, epoch, is_commit = struct.unpack_from(">qh?", frame, at)
    return EndTxn(name, producer_id, epoch, is_commit)


def _transactional_id(frame: bytes) -> tuple[str, int]:
    """The first member of a request that ends a transaction or commits its offsets, and where the next one begins."""
    version, _, client_id = struct.unpack_from(">hih", frame, 6)
    at = 14 + max(client_id, 0)
    if version >= FLEXIBLE_FROM:  # no tags, and a length that counts itself
        assert frame[at] == 0
        at, length = at + 2, frame[at + 1] - 1
    else:
        (length,) = struct.unpack_from(">h", frame, at)
        at += 2
    return frame[at : at + length].decode(), at + length


def _frame(source: socket.socket) -> bytes | None:
    """The next frame with its length; None at the end."""
    head = _exactly(source, 4)
    if head is None:
        return None
    body = _exactly(source, int.from_bytes(head, "big"))
    return None if body is None else head + body


def _exactly(source: socket.socket, count: int) -> bytes | None:
    parts = []
    while count:
        part = source.recv(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _cut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
