"""Makes the delivery shards of one journal partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.publishing.delivering.answers import Reader
from annals.agents.publishing.delivering.machine import Numbers
from annals.agents.publishing.delivering.shard import DeliveryShard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.pace import Pace
    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.ports import DeliveryLog, DeliverySource, DeliveryTelemetry, Poster
    from annals.agents.publishing.ports import Subscriptions
    from annals.agents.publishing.selection import Subscribed
    from annals.agents.publishing.share import Share
    from annals.schemas.progress import Progress
    from annals.schemas.subscription import Definition, Record


NOTHING: Final = Numbers(0, 0, 0)


def _no_poster(_: Definition) -> Poster | None:
    return None


class DeliveryShards:
    """What the delivery shards of a journal partition share."""

    def __init__(
        self,
        source: DeliverySource,
        decider: Decider[Any],
        log: Callable[[str], DeliveryLog],
        clock: Clock,
        calendar: Clock,
        telemetry: DeliveryTelemetry,
        kinds: Sequence[str],
        partitions: int,
        share: Share,
        draw: Callable[[], float],
        poster: Callable[[Definition], Poster | None] = _no_poster,
    ) -> None:
        """Take the journal, what makes the writer of a subscription, all kinds, and their partitions.

        clock: what rows are due by, never set back; calendar: the time of day, of what is kept and shown.
        share: of the process's time, of what is behind. draw: a number from 0 to below 1, of which delays are made.
        poster: returns what posts the deliveries of a subscription; None: they go to its topic.
        """
        self._source = source
        self._decider = decider
        self._log = log
        self._clock = clock
        self._calendar = calendar
        self._telemetry = telemetry
        self._kinds = kinds
        self._partitions = partitions
        self._share = share
        self._draw = draw
        self._poster = poster

    def tell_rest(self, name: str) -> None:
        """Have it told that nothing of a subscription is unsettled."""
        self._telemetry.parked(name, 0)
        self._telemetry.unsettled(name, NOTHING)
        self._telemetry.parked_since(name, None)

    def shard(self, subscribed: Subscribed, own: Progress, pace: Pace, subscriptions: Subscriptions) -> DeliveryShard:
        """Return the delivery shard of a subscription; its `run` is for the caller to start.

        pace: of this writer.
        """
        kind = self._source.kind
        first = self._first_kind(subscribed.kept.record)
        return DeliveryShard(
            subscribed,
            own,
            self._source,
            self._decider,
            self._log(subscribed.name),
            self._clock,
            self._calendar,
            self._telemetry,
            Reader(kind, self._source.partition, self._partitions, is_first_kind=kind == first),
            pace,
            subscriptions,
            self._share,
            self._draw,
            self._poster(subscribed.kept.record.definition),
        )

    def _first_kind(self, record: Record) -> str | None:
        """Return the kind that tidies up answers: of the oldest that this release has, as a later one reads fewer."""
        for definition in (*(former.definition for former in record.former), record.definition):
            if here := [kind for kind in definition.kinds or self._kinds if kind in self._kinds]:
                return min(here)
        return None
