"""What an endpoint's answer, or its silence, means for the event that was posted to it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from annals.schemas.ack import ACK, NACK, PARK

LEAST_WAIT_MS: Final = 1_000  # it uses no attempt up: asked for none, an event would come again and again at once
LONGEST_WAIT_MS: Final = 3_600_000  # an endpoint that asks for more is asked again after this
GONE_MS: Final = 5_000  # until the subscription is paused; nothing more is posted meanwhile
GONE: Final = 410
TOO_MANY: Final = 429
UNAVAILABLE: Final = 503
ASKING: Final = frozenset({f"http_{TOO_MANY}", f"http_{UNAVAILABLE}"})


class Verdict(NamedTuple):
    """What becomes of the event.

    verdict: `ack`, `nack` or `park`. wait_ms: how long the endpoint asks to be left alone; None: it does not say.
    counts: whether an attempt is used up. is_failure: the endpoint is to blame, not the event. pauses: the endpoint is
    gone, and the subscription is to be paused. is_made: whether anything was sent.
    """

    verdict: str
    reason: str | None = None
    wait_ms: int | None = None
    counts: bool = True
    is_failure: bool = False
    pauses: bool = False
    is_made: bool = True

    @property
    def is_asked(self) -> bool:
        """Whether it is the endpoint that asks to wait."""
        return not self.counts and self.reason in ASKING


def failed(reason: str) -> Verdict:
    """Return what it means that no answer could be had: the event comes again."""
    return Verdict(NACK, reason, is_failure=True)


def put_off(reason: str, wait_ms: int) -> Verdict:
    """Return what it means that nothing was sent: the event waits, and no attempt is used up."""
    return Verdict(NACK, reason, wait_ms, counts=False, is_made=False)


def of_status(status: int, retry_after: str | None, now: datetime) -> Verdict:
    """Return what a status means; retry_after: the header of this name, if there was one."""
    reason = f"http_{status}"
    if 200 <= status < 300:
        return Verdict(ACK)
    if status == GONE:
        return Verdict(NACK, reason, GONE_MS, counts=False, pauses=True)
    if status in (TOO_MANY, UNAVAILABLE) and (wait_ms := retry_after_ms(retry_after, now)) is not None:
        return Verdict(NACK, reason, wait_ms, counts=False)
    if 400 <= status < 500 and status != TOO_MANY:
        return Verdict(PARK, reason)
    return failed(reason)


def retry_after_ms(text: str | None, now: datetime) -> int | None:
    """Return how long `Retry-After` asks to wait, LEAST_WAIT_MS to LONGEST_WAIT_MS; None if it cannot be read."""
    stripped = (text or "").strip()
    if stripped.isascii() and stripped.isdigit():
        # int() refuses thousands of digits, and all that is longer than this is too long anyway
        wait_ms = int(stripped) * 1_000 if len(stripped) <= 9 else LONGEST_WAIT_MS
    else:
        try:
            moment = parsedate_to_datetime(stripped)
            wait_ms = int((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds() * 1_000)
        except (ValueError, OverflowError):
            return None
    return min(max(wait_ms, LEAST_WAIT_MS), LONGEST_WAIT_MS)
