"""annals: an event-sourcing worker on Kafka. Commands in, CID-chained events out, exactly once.

Everything that a program of yours imports has its name here, or in one of these modules:

- `annals.client`: send commands, await outcomes, read events;
- `annals.schemas`: commands and events of the seven kinds (`annals.schemas.kinds`), and the types of their members
  (`annals.schemas.values.fields`, `annals.schemas.values.refs`);
- `annals.testing`: given/when/then, a worker in memory, strategies and laws for aggregates of your own (extra
  `testing`).

All else is internal. Names are imported when they are first used, so that a producer loads neither Faust nor RocksDB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals._lazy import getter

if TYPE_CHECKING:
    from annals.agents.deciding.comparison import changes, is_identical, matches, or_none
    from annals.agents.deciding.decider import Circumstances, Decider
    from annals.agents.deciding.machine import ABSENT, Machine, On
    from annals.agents.deciding.refusals import Refused
    from annals.agents.deciding.state import State, StatePart
    from annals.agents.projections.projection import (
        Happened,
        Projection,
        ProjectionRows,
        Row,
        given_members,
        one_of,
        personal_key,
        reference_to,
        words_of,
    )
    from annals.agents.reactions.reaction import Nothing, Occurred, Reacted, Reaction, TimerFired, after, at, cancel
    from annals.schemas.canonical import decode, encode
    from annals.schemas.chain import ForeignError, read_block
    from annals.schemas.cid import cid_of, cid_text, parse_cid
    from annals.schemas.commands import NewCommand, command
    from annals.schemas.data.upcast import Upcast
    from annals.schemas.envelope import RecordedEvent
    from annals.schemas.messages import Message, Part, event_from
    from annals.schemas.outcome import Outcome
    from annals.schemas.values.constraints import PERSONAL
    from annals.topics.keys import keys_of, partition_of
    from annals.topics.names import TopicNames
    from annals.workers.client import CommandClient, NoAnswerError, NotSendableError
    from annals.workers.client.history import history
    from annals.workers.clock import new_id
    from annals.workers.settings import Settings, client_options, load_settings

__all__ = [
    "ABSENT",
    "PERSONAL",
    "Circumstances",
    "CommandClient",
    "Decider",
    "ForeignError",
    "Happened",
    "Machine",
    "Message",
    "NewCommand",
    "NoAnswerError",
    "NotSendableError",
    "Nothing",
    "Occurred",
    "On",
    "Outcome",
    "Part",
    "Projection",
    "ProjectionRows",
    "Reacted",
    "Reaction",
    "RecordedEvent",
    "Refused",
    "Row",
    "Settings",
    "State",
    "StatePart",
    "TimerFired",
    "TopicNames",
    "Upcast",
    "after",
    "at",
    "cancel",
    "changes",
    "cid_of",
    "cid_text",
    "client_options",
    "command",
    "decode",
    "encode",
    "event_from",
    "given_members",
    "history",
    "is_identical",
    "keys_of",
    "load_settings",
    "matches",
    "new_id",
    "one_of",
    "or_none",
    "parse_cid",
    "partition_of",
    "personal_key",
    "read_block",
    "reference_to",
    "words_of",
]

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "agents.deciding.comparison": ("changes", "is_identical", "matches", "or_none"),
    "agents.deciding.decider": ("Circumstances", "Decider"),
    "agents.deciding.machine": ("ABSENT", "Machine", "On"),
    "agents.deciding.refusals": ("Refused",),
    "agents.deciding.state": ("State", "StatePart"),
    "agents.projections.projection": (
        "Happened",
        "Projection",
        "ProjectionRows",
        "Row",
        "given_members",
        "one_of",
        "personal_key",
        "reference_to",
        "words_of",
    ),
    "agents.reactions.reaction": (
        "Nothing",
        "Occurred",
        "Reacted",
        "Reaction",
        "TimerFired",
        "after",
        "at",
        "cancel",
    ),
    "schemas.canonical": ("decode", "encode"),
    "schemas.chain": ("ForeignError", "read_block"),
    "schemas.cid": ("cid_of", "cid_text", "parse_cid"),
    "schemas.commands": ("NewCommand", "command"),
    "schemas.messages": ("Message", "Part", "event_from"),
    "schemas.data.upcast": ("Upcast",),
    "schemas.envelope": ("RecordedEvent",),
    "schemas.outcome": ("Outcome",),
    "schemas.values.constraints": ("PERSONAL",),
    "topics.keys": ("keys_of", "partition_of"),
    "topics.names": ("TopicNames",),
    "workers.client": ("CommandClient", "NoAnswerError", "NotSendableError"),
    "workers.client.history": ("history",),
    "workers.clock": ("new_id",),
    "workers.settings": ("Settings", "client_options", "load_settings"),
}
_HOMES: Final = {name: f"annals.{module}" for module, names in _MODULES.items() for name in names}


__getattr__ = getter(__name__, _HOMES, globals())


def __dir__() -> list[str]:
    return __all__
