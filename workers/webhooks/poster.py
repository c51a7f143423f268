"""Posts the deliveries of one subscription in one journal partition, and says what became of each (`Poster`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.defects import is_of_machine
from annals.agents.publishing.delivering.machine import Answer
from annals.agents.publishing.webhooks import verdicts
from annals.agents.publishing.webhooks.binding import batched, binary
from annals.agents.publishing.webhooks.circuit import ASKED_TO_WAIT, CIRCUIT_OPEN, endpoint_of
from annals.agents.publishing.webhooks.signatures import signature_headers
from annals.agents.publishing.webhooks.verdicts import Verdict, failed, of_status, put_off
from annals.agents.waiting import ended
from annals.schemas.ack import ACK, EXTEND, NACK, PARK
from annals.workers.webhooks.secrets import SecretUnusableError
from annals.workers.webhooks.sender import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from annals.agents.ports import Clock
    from annals.agents.publishing.records import Outgoing
    from annals.schemas.delivery import Row
    from annals.schemas.subscription import Webhook
    from annals.workers.webhooks.endpoint import Endpoint
    from annals.workers.webhooks.secrets import SecretFolder
    from annals.workers.webhooks.sender import WebhookSender
    from annals.workers.webhooks.telemetry import WebhookMetrics

log = structlog.get_logger(__name__)

MOST_EVENTS: Final = 100  # of one batch
MOST_BYTES: Final = 1 << 20
# What is answered must have come before the row takes itself back: else a second attempt would run beside the first.
SHARE_OF_TIME: Final = 0.9
LEAST_S: Final = 0.001
BUSY_MS: Final = 100
BUSY: Final = "endpoint_busy"
GONE: Final = f"http_{verdicts.GONE}"
SECRET: Final = "secret_unusable"  # noqa: S105 - a reason
SECRET_MS: Final = 10_000
WORKER_FAILED: Final = "worker_failed"
WORKER_FAILED_MS: Final = 1_000  # until what the machine lacks is asked for again

Delivery = tuple["Row", "Outgoing", "Callable[[str, Answer], None]"]


class WebhookPoster:
    """Sends each delivery while its row is in flight, and not longer."""

    def __init__(
        self,
        name: str,
        webhook: Webhook,
        endpoint: Endpoint,
        sender: WebhookSender,
        secrets: SecretFolder,
        clock: Clock,
        steady: Clock,
        metrics: WebhookMetrics,
        pause: Callable[[str], None],
        is_pausing: Callable[[], bool],
    ) -> None:
        """Take the subscription's name and webhook, its endpoint, and so on.

        clock: what signatures and endpoints go by; steady: what rows are due by, and circuits, which is never set
        back. pause: for an endpoint that is gone; is_pausing: whether that was begun, and is not done yet.
        """
        self.endpoint = endpoint_of(webhook.url)
        self._name = name
        self._webhook = webhook
        self._endpoint = endpoint
        self._sender = sender
        self._secrets = secrets
        self._clock = clock
        self._steady = steady
        self._metrics = metrics
        self._pause = pause
        self._is_pausing = is_pausing
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered: list[Delivery] = []
        metrics.began(name, lambda: endpoint.circuit.is_open)

    def opened(self, rows: Iterable[Row]) -> None:
        """Take up what rows of before say of the endpoint."""
        self._endpoint.circuit.restore(rows)

    def post(self, row: Row, outgoing: Outgoing, answered: Callable[[str, Answer], None]) -> None:
        """Send one; batches are of what is given in one go."""
        delivery = row, outgoing, answered
        if self._webhook.content_mode == "binary":
            self._begin([delivery])
            return
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(delivery)

    async def close(self) -> None:
        """Break off what is under way; it comes again when its time is up."""
        self._gathered.clear()
        self._metrics.ended(self._name)
        await ended(*self._tasks)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        batch: list[Delivery] = []
        size = 0
        for delivery in gathered:
            size += len(delivery[1].value)
            if batch and (len(batch) == MOST_EVENTS or size > MOST_BYTES):
                self._begin(batch)
                batch, size = [], len(delivery[1].value)
            batch.append(delivery)
        if batch:
            self._begin(batch)

    def _begin(self, deliveries: list[Delivery]) -> None:
        task = asyncio.create_task(self._deliver(deliveries), name=f"webhook {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook could not be posted", subscription=self._name, exc_info=error)

    async def _deliver(self, deliveries: list[Delivery], *, was_sent: bool = False) -> None:
        """Post some and say what became of each; was_sent: in a batch that was refused, which is an attempt."""
        verdict = await self._verdict(deliveries)
        if verdict.verdict == PARK and len(deliveries) > 1:  # which of them is refused shows when each is alone
            for delivery in deliveries:
                await self._deliver([delivery], was_sent=True)
            return
        reason = ASKED_TO_WAIT if verdict.is_asked else verdict.reason
        for row, _, answered in deliveries:
            answer = Answer(row.cid, row.attempt, verdict.verdict, reason, verdict.wait_ms)
            answered(row.aggregate_id, answer._replace(counts=verdict.counts, is_made=was_sent or verdict.is_made))
        if verdict.pauses:
            log.warning("webhook is gone", subscription=self._name, reason=verdict.reason)
            self._pause(f"{verdict.reason}: the endpoint says that it is gone")

    async def _verdict(self, deliveries: Sequence[Delivery]) -> Verdict:
        """Send when it is its turn, if there is time for it then."""
        until = min(row.due for row, *_ in deliveries)
        try:
            async with asyncio.timeout(self._left_s(until)):
                await self._endpoint.turns.acquire()
        except TimeoutError:
            return put_off(BUSY, BUSY_MS)
        try:
            return await self._posted(deliveries, until)
        finally:
            self._endpoint.turns.release()

    async def _posted(self, deliveries: Sequence[Delivery], until: int) -> Verdict:
        circuit = self._endpoint.circuit
        if self._is_pausing():  # which may take longer than what the endpoint's answer put off: it said that it is gone
            return put_off(GONE, verdicts.GONE_MS)
        if (wait_ms := circuit.wait_ms(self._now())) > 0:
            return put_off(CIRCUIT_OPEN if circuit.is_open else ASKED_TO_WAIT, wait_ms)
        is_told = False
        began = self._clock.monotonic()
        try:
            until = self._until(deliveries, until)
            verdict = await self._sent([outgoing for _, outgoing, _ in deliveries], until)
            self._metrics.posted(self._name, verdict.reason or ACK, self._clock.monotonic() - began)
            self._tell(verdict)
            is_told = True
        except SecretUnusableError as error:
            log.warning("webhook cannot be signed", subscription=self._name, reason=str(error))
            verdict = put_off(SECRET, SECRET_MS)
        except Exception as error:  # not of the endpoint; unanswered, it would pass for one that did not answer
            log.exception("webhook could not be posted", subscription=self._name)
            self._metrics.posted(self._name, WORKER_FAILED, self._clock.monotonic() - began)
            if is_of_machine(error):
                return put_off(WORKER_FAILED, WORKER_FAILED_MS)
            # As a failure of the endpoint, so that its circuit opens where it meets each event.
            verdict = Verdict(NACK, WORKER_FAILED, is_failure=True)
            self._tell(verdict)
            is_told = True
        finally:
            if not is_told:
                circuit.dropped()
        return verdict

    def _until(self, deliveries: Sequence[Delivery], until: int) -> int:
        """Return until when the endpoint may answer; where much of that has gone by in waiting, it begins anew."""
        now, whole_ms = self._now(), min(row.due - row.at for row, *_ in deliveries)
        if until - now >= SHARE_OF_TIME * whole_ms:
            return until
        for row, _, answered in deliveries:
            answered(row.aggregate_id, Answer(row.cid, row.attempt, EXTEND))
        return now + whole_ms

    async def _sent(self, events: Sequence[Outgoing], until: int) -> Verdict:
        keys = self._secrets.keys(self._webhook.secrets)
        request = binary(events[0]) if self._webhook.content_mode == "binary" else batched(events)
        seconds = int(self._clock.now().timestamp())
        headers = request.headers | signature_headers(request.webhook_id, seconds, request.body, keys)
        try:
            # A little less than is left, so that it is the request that ends, and its failure is known.
            reply = await self._sender.post(
                self._webhook.url, headers, request.body, SHARE_OF_TIME * self._left_s(until)
            )
        except NoAnswerError as error:
            log.info("webhook was not answered", subscription=self._name, reason=error.reason, message=str(error))
            return failed(error.reason)
        return of_status(reply.status, reply.retry_after, self._clock.now())

    def _tell(self, verdict: Verdict) -> None:
        """Let the endpoint's circuit know."""
        circuit = self._endpoint.circuit
        if verdict.is_failure:
            if circuit.failed(self._now()):
                log.warning("webhook circuit opened", subscription=self._name, reason=verdict.reason)
        elif not verdict.counts and verdict.wait_ms:
            circuit.asked(self._now(), verdict.wait_ms)
        else:
            if circuit.is_open:
                log.info("webhook circuit closed", subscription=self._name)
            circuit.answered()

    def _left_s(self, until: int) -> float:
        return max(LEAST_S, SHARE_OF_TIME * (until - self._now()) / 1_000)

    def _now(self) -> int:
        return int(self._steady.now().timestamp() * 1_000)
