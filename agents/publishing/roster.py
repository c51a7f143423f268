"""The subscriptions of one journal partition: which are live, rest, have a progress of their own, and which halted.

Nothing here writes: the publisher commits first what `leaving` and its own reading of `own` call for, then says so.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from annals.agents.publishing.cel import ExpressionError, compiled
from annals.agents.publishing.selection import Subscribed, texts_of, wants_kind
from annals.schemas.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.publishing.ports import Kept, PublishLog, Subscriptions


async def known_now(subscriptions: Subscriptions, writer: PublishLog) -> tuple[Mapping[str, Kept], dict[str, Progress]]:
    """Return all subscriptions, and then all progress: whoever puts one writes both in one transaction."""
    await subscriptions.until_current()
    known = subscriptions.all()
    return known, await writer.progress()


class Roster:
    """own: the progress of those that are not live; resting: of those that answer, and are as far as what is live.

    known: the subscriptions as they were last noticed. unproven: the progress that was read of some of them, whose
    event was not looked for yet. unwritten: the names of those in `own` whose progress is to be written before anybody
    works for them: whoever works finds it, or knows that another one has taken the subscription over.
    """

    def __init__(self, kind: str, partition: int) -> None:
        """Know of none."""
        self._kind = kind
        self._partition = partition
        self._subscribed: dict[str, Subscribed] = {}
        self._unwanting: set[str] = set()  # deleted ones that want nothing of this kind
        self._halted: dict[str, int] = {}
        self.known: Mapping[str, Kept] = {}
        self.own: dict[str, Progress] = {}
        self.resting: dict[str, Progress] = {}
        self.unproven: dict[str, Progress] = {}
        self.unwritten: set[str] = set()

    async def is_current(self, subscriptions: Subscriptions) -> bool:
        """Whether nobody has changed a subscription since they were noticed: asked when events have been read."""
        await subscriptions.until_current()
        return subscriptions.all() is self.known

    def unseen(self, known: Mapping[str, Kept]) -> list[str]:
        """Return those whose progress is to be read: they are new, or begun anew."""
        return [
            name
            for name, kept in known.items()
            if name not in self.known or self.known[name].record.incarnation != kept.record.incarnation
        ]

    async def notice(
        self, known: Mapping[str, Kept], progress: Mapping[str, Progress], *, is_first: bool
    ) -> dict[str, str]:
        """Take the subscriptions as they are now; return those that cannot be published here, and why.

        progress: as it was read after `known`. is_first: nothing was ever live here, so that one without a progress of
        its own begins where its record says.
        """
        failed: dict[str, str] = {}
        for name, kept in known.items():
            if self.known.get(name) == kept:
                continue
            self._unwanting.discard(name)
            if kept.record.is_deleted:  # its record stays, and its filters would be compiled and kept for nobody
                self._subscribed.pop(name, None)
                if not wants_kind(kept.record, self._kind, self._partition):
                    self._unwanting.add(name)
                continue
            held = await compiled(texts_of(kept.record, self._kind))
            try:
                self._subscribed[name] = Subscribed(kept, self._kind, self._partition)
            except ExpressionError as error:
                failed[name] = str(error)
                self._subscribed.pop(name, None)
            del held
        for name in self.unseen(known):
            self.forget(name)
            self.unproven.pop(name, None)
            incarnation, own = known[name].record.incarnation, progress.get(name)
            if own is not None and own.incarnation == incarnation:
                self.take(name, msgspec.structs.replace(own, is_resting=own.is_resting and not is_first))
                if own.is_resting and is_first:
                    self.unwritten.add(name)
                if own.cid is not None:
                    self.unproven[name] = own
            elif (own is not None or is_first) and self._wants(name):
                begin = known[name].record.begin.get(self._kind, ())
                # Of a kind that came after it, all is wanted.
                first = begin[self._partition] if self._partition < len(begin) else 0
                self.own[name] = Progress(first, None, incarnation)
                self.unwritten.add(name)
        self.known = known
        return failed

    def take(self, name: str, own: Progress | None) -> None:
        """Take a progress that is written; None: it has ended."""
        self.forget(name)
        if own is not None:
            (self.resting if own.is_resting else self.own)[name] = own

    def forget(self, name: str) -> None:
        """A subscription has no progress of its own."""
        self.own.pop(name, None)
        self.resting.pop(name, None)
        self.unwritten.discard(name)

    def beyond(self, offset: int, catching: Mapping[str, int]) -> dict[str, int]:
        """Return the positions of those that are running and have come further than an offset, by name.

        catching: the same of those that catch up, as they have read it; one that was halted goes on until it is paused.
        """
        each = chain(self.own.items(), self.resting.items())
        found = {name: own.position for name, own in each if own.position > offset}
        return {name: position for name, position in (found | dict(catching)).items() if self.is_running(name)}

    def halt(self, name: str) -> None:
        """Publish nothing more for a subscription until its record is another."""
        self._halted[name] = self.known[name].offset

    def is_running(self, name: str) -> bool:
        """Whether events are to be published for a subscription."""
        kept = self.known[name]
        return kept.record.is_active and name in self._subscribed and self._halted.get(name) != kept.offset

    def get(self, name: str) -> Subscribed:
        """Return a subscription that is running."""
        return self._subscribed[name]

    def live(self) -> list[Subscribed]:
        """Return those that are published together."""
        return [each for name, each in self._wanting() if self._is_live(name)]

    def behind(self) -> list[Subscribed]:
        """Return those that are running and have a progress of their own: for good, where somebody answers."""
        written = self.own.keys() - self.unwritten
        return [each for name, each in self._wanting() if name in written and self.is_running(name)]

    def begun(self) -> dict[str, Progress]:
        """Return the progress that nobody has written yet."""
        return {name: self.own[name] for name in sorted(self.unwritten)}

    def at_rest(self) -> list[Subscribed]:
        """Return those that are looked after with what is live until something of theirs comes."""
        return [each for name, each in self._wanting() if name in self.resting and self.is_running(name)]

    def leaving(self, live: Progress) -> dict[str, Progress]:
        """Return the progress of those that stop to be live, or to rest, where what is live stands."""
        woken = [name for name in self.resting if not (self.is_running(name) and self._subscribed[name].is_delivered)]
        return {name: self.woken(name, live) for name in woken} | {
            name: Progress(live.position, live.cid, kept.record.incarnation)
            for name, kept in self.known.items()
            if not self._has_own(name) and not self._is_live(name) and self._wants(name)
        }

    def woken(self, name: str, live: Progress) -> Progress:
        """Return the progress of one that rests no more."""
        own = self.resting[name]
        cid = live.cid if live.position >= own.position else own.cid
        return Progress(own.reached_with(live), cid, own.incarnation, own.acks)

    def _has_own(self, name: str) -> bool:
        return name in self.own or name in self.resting

    def _is_live(self, name: str) -> bool:
        return not self._has_own(name) and self.is_running(name) and not self._subscribed[name].is_delivered

    def _wants(self, name: str) -> bool:
        return self._subscribed[name].is_wanting if name in self._subscribed else name not in self._unwanting

    def _wanting(self) -> list[tuple[str, Subscribed]]:
        return [(name, each) for name, each in self._subscribed.items() if each.is_wanting]
