"""Sends the story's commands, one after another, and holds each outcome to what the story says."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.cid import cid_text
from annals.schemas.commands import NewCommand, command
from annals.schemas.envelope import RecordedEvent
from annals.schemas.outcome import ACCEPTED, DUPLICATE, REJECTED
from annals.workers.client.history import history

if TYPE_CHECKING:
    from annals.schemas.messages import Message
    from annals.schemas.outcome import Outcome
    from annals.workers.client import CommandClient
    from annals.workers.settings import Settings
    from annals.workers.tools.demo.memory import Memory
    from annals.workers.tools.demo.reacting import Reaction, Reactions
    from annals.workers.tools.demo.show import Show

ACTOR: Final = "annals-demo"
SHORT: Final = 8
_CID: Final = re.compile(r"\bbafyr4i[a-z2-7]{52}\b")


class DifferedError(Exception):
    """Something was not as the story has it; the message names it."""


def expect(is_so: bool, otherwise: str) -> None:  # noqa: FBT001 - it reads as a sentence
    """Go on if it is so.

    Raises:
        DifferedError: it is not; the message is `otherwise`.
    """
    if not is_so:
        raise DifferedError(otherwise)


def short(text: str) -> str:
    """A CID for the eye, or a text with each of its CIDs so: their beginning is every event's, their end is not."""
    return _CID.sub(lambda found: f"…{found[0][-SHORT:]}", text)


class Teller:
    """Tells one part of the story, each command under an id that is the same in every run.

    A story that this journal holds already is *told again*: what led to events is sent once more, under the same ids,
    and must be answered `duplicate` with the CIDs of then. What was refused is left out: it is not remembered.
    """

    def __init__(
        self,
        client: CommandClient,
        reactions: Reactions,
        settings: Settings,
        show: Show,
        memory: Memory,
        chapter: int,
    ) -> None:
        """Take who sends and who reacts, where events are read, who shows it, what is remembered, the part's number."""
        self._client = client
        self._reactions = reactions
        self._settings = settings
        self._show = show
        self._memory = memory
        self._chapter = chapter
        self._numbers: Counter[str] = Counter()
        self.is_telling_again = memory.runs > 0 and chapter == 1
        # What an interrupted run was refused may be true by now.
        self._is_resumed = memory.begun > memory.runs
        self.versions: dict[str, tuple[int, str]] = {}
        """By aggregate (`person/p-1`): the last version and CID that outcomes told of."""
        self.answers: dict[str, str] = {}
        self.statuses: Counter[str] = Counter()
        self.reacted: list[dict[str, Any]] = []
        """What reactions led to, as JSON types."""

    async def tell(self, kind: str, aggregate_id: str, message: Message, comment: str = "") -> Outcome:
        """Send a command that leads to one event."""
        return await self.send(self._named(command(kind, aggregate_id, message)), comment)

    async def send(self, new: NewCommand, comment: str = "") -> Outcome:
        """Send a command that has its id.

        Raises:
            DifferedError: it did not lead to one event, or, told again, not to the event of then.
        """
        outcome = await self._client.send(new.kind, new.by(ACTOR).envelope())
        name = type(new.message).__name__
        wanted = {DUPLICATE} if new.id in self._memory.answers else {ACCEPTED, DUPLICATE}
        words = " or ".join(sorted(wanted))
        expect(
            outcome.status in wanted and len(outcome.events) == 1,
            f"{name} of {new.kind} {new.aggregate_id} should be {words} with one event: {outcome}",
        )
        event = outcome.events[0]
        then = self._memory.answers.get(new.id, event.cid)
        expect(event.cid == then, f"{name} of {new.kind} {new.aggregate_id} led to {event.cid}, and then to {then}")
        self.note(outcome)
        self.answers[new.id] = event.cid
        self.statuses[outcome.status] += 1
        if not self.is_telling_again:
            says = f"{event.type} v{event.version}" if outcome.status == ACCEPTED else f"duplicate: v{event.version}"
            self._line(
                "ok" if outcome.status == ACCEPTED else "same", new, says, f"{short(event.cid)} {comment}".rstrip()
            )
        return outcome

    async def refuse(self, kind: str, aggregate_id: str, message: Message, rule: str) -> None:
        """Send a command that breaks a rule on purpose.

        Raises:
            DifferedError: it was not refused, or by another rule.
        """
        new = self._named(command(kind, aggregate_id, message))
        if self.is_telling_again or self._is_resumed:
            return
        outcome = await self._client.send(kind, new.by(ACTOR).envelope())
        found = None if outcome.error is None else outcome.error.details.get("rule", outcome.error.code)
        expect(
            outcome.status == REJECTED and found == rule,
            f"{type(message).__name__} of {kind} {aggregate_id} should be refused by {rule}: {outcome}",
        )
        self.statuses[REJECTED] += 1
        self._line("no", new, rule, "on purpose:")
        self._show.say((f"      {'' if outcome.error is None else outcome.error.message}", "dim"))

    async def again(self, outcome: Outcome, message: Message) -> None:
        """Send a command once more, under the id that it had.

        Raises:
            DifferedError: the answer is not `duplicate` with the events of then.
        """
        new = command(outcome.kind, outcome.aggregate_id, message).with_id(outcome.command_id)
        repeated = await self._client.send(new.kind, new.by(ACTOR).envelope())
        expect(
            repeated.status == DUPLICATE and repeated.events == outcome.events,
            f"{type(message).__name__} sent twice should be a duplicate of {outcome}, was {repeated}",
        )
        self.statuses[DUPLICATE] += 1
        if not self.is_telling_again:
            self._line("same", new, f"duplicate: v{repeated.events[0].version}", "the same id again: the same event")

    async def resume(self, *reactions: Reaction) -> None:
        """Have reactions react from now on; each does nothing until somebody resumes it."""
        for each in reactions:
            if await self._reactions.resume(each):
                says = f"{each.reacts_to} will lead to {each.sends}"
                self._show.line("ok", (f"$ annals reactions resume {each.name}: ", ""), (says, "dim"))

    async def reaction(self, reaction: Reaction, cause: RecordedEvent, aggregate_id: str) -> None:
        """Wait for what a reaction leads to: the next event of an aggregate, which nothing here has sent.

        Raises:
            DifferedError: it does not come, or something else than the event caused it.
        """
        name = f"{reaction.kind}/{aggregate_id}"
        event = await self._reactions.until(reaction.kind, aggregate_id, self.versions[name][0] + 1)
        caused, command_id = cid_text(cause.cid), f"{cid_text(cause.cid)}:{reaction.sends}"
        expect(
            (event["causation_id"], event["command_id"]) == (caused, command_id),
            f"{reaction.name} should react to {cause.type} {caused} with {reaction.sends}: {event}",
        )
        then = self._memory.answers.get(command_id, event["cid"])
        expect(event["cid"] == then, f"{reaction.name} led to {event['cid']}, and then to {then}")
        self.versions[name] = (event["version"], event["cid"])
        self.answers[command_id] = event["cid"]
        wanted = ("kind", "aggregate_id", "version", "type", "cid", "causation_id")
        self.reacted.append({"reaction": reaction.name} | {member: event[member] for member in wanted})
        if not self.is_telling_again:
            comment = f"by {reaction.name}, caused by {short(caused)}"
            says = f"{event['type']} v{event['version']}"
            self._told(
                "ok", reaction.sends, f"{reaction.kind} {aggregate_id}", says, f"{short(event['cid'])} {comment}"
            )

    async def event(self, outcome: Outcome) -> RecordedEvent:
        """Return the event that a command led to, as a reader of the journal sees it."""
        async with aclosing(history(self._settings, outcome.kind, outcome.aggregate_id)) as events:
            async for counted in events:
                if cid_text(counted.cid) == outcome.events[-1].cid:
                    return RecordedEvent(**counted.event, cid=counted.cid)
        raise DifferedError(
            f"{outcome.events[-1].cid} was answered, but {outcome.kind} {outcome.aggregate_id} lacks it"
        )

    def note(self, outcome: Outcome) -> None:
        """Remember the head that an outcome tells of; a duplicate's is that of then."""
        name = f"{outcome.kind}/{outcome.aggregate_id}"
        if outcome.head is not None and outcome.version > self.versions.get(name, (0, ""))[0]:
            self.versions[name] = (outcome.version, outcome.head)

    def _named(self, new: NewCommand) -> NewCommand:
        what = f"{new.kind}.{new.aggregate_id}.{type(new.message).__name__}"
        self._numbers[what] += 1
        return new.with_id(f"demo-{self._chapter}.{what}.{self._numbers[what]}")

    def _line(self, mark: str, new: NewCommand, says: str, comment: str) -> None:
        self._told(mark, type(new.message).__name__, f"{new.kind} {new.aggregate_id}", says, comment)

    def _told(self, mark: str, name: str, whose: str, says: str, comment: str) -> None:
        style = {"ok": "green", "no": "yellow", "same": "cyan"}[mark]
        self._show.line(mark, (f"{name:<21}", ""), (f"{whose:<23}", "dim"), (f"{says:<26}", style), (comment, "dim"))
