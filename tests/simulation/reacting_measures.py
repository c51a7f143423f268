"""The measures of reactors, each taken out: what a mutation changes, for a test that must go red with it."""

from typing import Any

import pytest
from msgspec.structs import replace
from publishing_measures import Patch, nothing

from annals.agents.ports import UncertainError
from annals.agents.reacting import opening
from annals.agents.reacting.ports import ReactionLog, ReactionWrites
from annals.agents.reacting.reactor import Reactor
from annals.schemas.progress import Progress
from annals.workers.publishing.reached import Reached
from annals.workers.reacting.log import KafkaReactionLog


def fence_before_rows(patch: pytest.MonkeyPatch) -> None:
    """A reactor reads what is kept before it fences the one before it."""
    fence, commit = KafkaReactionLog.fence, KafkaReactionLog.commit
    late: set[KafkaReactionLog] = set()

    async def later(self: Any) -> None:
        late.add(self)

    async def fencing(self: Any, writes: ReactionWrites) -> None:
        if self in late:
            late.discard(self)
            await fence(self)
        await commit(self, writes)

    patch.setattr(KafkaReactionLog, "fence", later)
    patch.setattr(KafkaReactionLog, "commit", fencing)


def version_in_progress(patch: pytest.MonkeyPatch) -> None:
    """What another version has written counts as this one's."""
    open_ = Reactor._open

    async def going_on(self: Any) -> ReactionLog:
        make = self._make_log

        def made() -> Any:
            one = make()
            progress = one.progress

            async def of_this_version() -> Progress | None:
                found = await progress()
                return None if found is None else replace(found, version=self._reaction.version)

            one.progress = of_this_version
            return one

        self._make_log = made
        try:
            return await open_(self)
        finally:
            self._make_log = make

    patch.setattr(Reactor, "_open", going_on)


def quiet_fold(patch: pytest.MonkeyPatch) -> None:
    """A version begins with commands for what the one before it has reacted to."""
    patch.setattr(opening, "begun_anew", lambda _, version: Progress(0, version=version))


def lost_end_of_quiet(patch: pytest.MonkeyPatch) -> None:
    """Whatever comes at an offset below which a reaction is to send nothing passes for older than the reaction."""
    standing = opening.standing

    async def by_offsets(source: Any, progress: Progress, *asked: Any) -> Progress:
        return replace(await standing(source, progress, *asked), quiet_until=progress.quiet_until)

    patch.setattr(opening, "standing", by_offsets)


def uncertain_read_again(patch: pytest.MonkeyPatch) -> None:
    """What is uncertain is taken for not committed, and written again."""
    commit = KafkaReactionLog.commit

    async def twice(self: Any, writes: ReactionWrites) -> None:
        try:
            await commit(self, writes)
        except UncertainError:
            await self.fence()
            await commit(self, writes)

    patch.setattr(KafkaReactionLog, "commit", twice)


def rows_with_the_progress(patch: pytest.MonkeyPatch) -> None:
    """States and timers are written behind the progress that they are of."""
    commit = KafkaReactionLog.commit

    async def in_two(self: Any, writes: ReactionWrites) -> None:
        await commit(self, writes._replace(rows={}))
        await commit(self, writes._replace(commands=()))

    patch.setattr(KafkaReactionLog, "commit", in_two)


def commands_with_the_progress(patch: pytest.MonkeyPatch) -> None:
    """Commands are sent before the progress that they are of is written."""
    commit = KafkaReactionLog.commit

    async def in_two(self: Any, writes: ReactionWrites) -> None:
        if writes.commands:
            await commit(self, ReactionWrites(writes.commands, {}, self.before))
        await commit(self, writes._replace(commands=()))
        self.before = writes.progress

    progress = KafkaReactionLog.progress

    async def noted(self: Any) -> Progress | None:
        found = await progress(self)
        self.before = found or Progress(0)
        return found

    patch.setattr(KafkaReactionLog, "progress", noted)
    patch.setattr(KafkaReactionLog, "commit", in_two)


def reached_rows(patch: pytest.MonkeyPatch) -> None:
    """A new owner does not compare rows and progress with what the group's offset says of them."""
    patch.setattr(Reached, "require", nothing)


MEASURES: list[Patch] = [
    fence_before_rows,
    version_in_progress,
    quiet_fold,
    lost_end_of_quiet,
    uncertain_read_again,
    rows_with_the_progress,
    commands_with_the_progress,
    reached_rows,
]
