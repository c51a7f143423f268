"""Where a replay that is asked for over HTTP may go: whoever asks names no code, no path and no other topic."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from aiokafka.admin import NewTopic

from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.replays import TargetNotPermittedError, TopicNotPermittedError
from annals.topics.catalog import SETTINGS, durability
from annals.topics.names import TopicNames
from annals.topics.spec import Role
from annals.workers.kafka.admin.cluster import administration
from annals.workers.kafka.admin.creation import create_topics
from annals.workers.replay.plan import Target
from annals.workers.replay.targets import GROUP

if TYPE_CHECKING:
    from annals.workers.settings import Settings

REPLAYS: Final = "replays."
FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
MAY: Final = (
    'a replay over HTTP goes to {"handler": an entry point of annals.replay_handlers}, {"topic": "replays.<name>"} or '
    '{"file": a name in ANNALS_REPLAY_DIR}'
)


def permitted_target(target: dict[str, Any] | None, settings: Settings) -> Target:
    """Return where a replay goes.

    Raises:
        TargetNotPermittedError: it may not go there.
    """
    if target is None:
        return Target()
    match list(target.items()):
        case [("handler", str(name))] if name in entry_points(group=GROUP).names:
            return Target(handler=name)
        case [("topic", str(name))] if _is_replay_topic(name):
            return Target(topic=name.removeprefix(REPLAYS))
        case [("file", str(name))] if settings.replay_dir is not None and FILE_NAME.fullmatch(name):
            path = settings.replay_dir / name
            if not path.is_symlink():
                return Target(file=str(path))
    raise TargetNotPermittedError(MAY)


def _is_replay_topic(name: str) -> bool:
    if not name.startswith(REPLAYS):
        return False
    try:
        TopicNames().replays(name.removeprefix(REPLAYS))
    except ValueError:
        return False
    return True


async def create_missing(settings: Settings, name: str) -> None:
    """Create the topic of a replay if it is missing, kept as those of subscribers are.

    Raises:
        TopicNotPermittedError: the brokers do not permit it.
        NotReadyError: they refuse it.
    """
    topic, replicas = TopicNames(settings.topic_prefix).replays(name), settings.replication_factor
    kept = SETTINGS[Role.SUBSCRIBERS] + durability(replicas)
    async with administration(settings) as admin:
        if topic in await admin.list_topics():
            return
        configs = {setting.name: setting.value for setting in kept}
        wanted = NewTopic(topic, settings.partitions, replicas, topic_configs=configs)
        _, refusals = await create_topics(admin, [wanted])
    for refusal in refusals:
        if refusal.is_of_rights:
            raise TopicNotPermittedError(f"the worker may not create {topic}: create it for it")
        raise NotReadyError(str(refusal))
