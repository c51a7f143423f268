"""The phases of a shard, and what may be trusted in each.

| phase | entered by | may be trusted |
|---|---|---|
| opening | `run`, after each failure (`_leave`) | nothing: not the store, the group's offset, nor the journal's end |
| open | `_begin`, behind `_open` | the working set is the journal's fold; `next_offset` is the next command |
| suspended | `suspend` | the same; but nothing new is begun, since the partition may move |
| fenced | `run`, by `FencedError` | nothing: another writer may be at work |
| stopped | `_stop` | what the reason says; only a restart leaves it |
| closed | `close` | nothing |

A shard that was opened from a restore point is open like any other: its working set is the fold of what the restore
point says and of the journal behind that, until the whole journal is folded.
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a shard is in its life."""

    OPENING = "opening"
    OPEN = "open"
    SUSPENDED = "suspended"
    FENCED = "fenced"
    STOPPED = "stopped"
    CLOSED = "closed"
