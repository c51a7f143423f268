"""docs/reference/permissions.md, from `annals.topics.rights`."""

from __future__ import annotations

from annals.topics.rights import Resource, Right, rights
from generator.markdown import code, table

PREFIX, APP_ID, KIND, REACTION = "<prefix>", "<app id>", "<kind>", "<reaction>"
INTRO = """# Permissions

The least rights of each command at brokers with an authorizer (`kafka-acls.sh --add --allow-principal User:NAME
--operation …`). `<prefix>` is `ANNALS_TOPIC_PREFIX`, `<app id>` is `ANNALS_APP_ID`. A name that ends in `*` is a prefix
(`--resource-pattern-type prefixed`). A test runs each command with these rights and no others, on a real broker with
SCRAM and Kafka's StandardAuthorizer.

DescribeConfigs is included in nothing else: a worker compares the topics' settings with what they must be before it
starts. Describe is included in Read, Write and Delete.

A worker with `ANNALS_CREATE_TOPICS=1` needs the rights of `annals topics create` as well. Of what the user of
`annals topics check` may not try, the check says `not tried`: a worker's user needs those rights, and not the check's.
It compares and tries what a worker of `ANNALS_ROLES` compares and joins. The groups in whose name publishers and
reactions commit are not tried: the readiness of a worker names the right that it lacks on those.
"""


def page() -> str:
    """Return the page."""
    found = rights("p.", "a", ["k"], ["r"], ["r"])
    parts = [INTRO]
    for command, needed in found.items():
        rows = [[each.resource.value, code(_name(each)), ", ".join(each.operations)] for each in needed]
        parts += [f"## {code(command)}\n", table(["resource", "name", "operations"], rows)]
    parts.append(OTHERS)
    return "\n".join(parts)


OTHERS = """## Everybody else

| who | resource | name | operations |
|---|---|---|---|
| other producers of commands | topic | `<prefix>commands.<kind>` | Write |
| other readers of outcomes | topic | `<prefix>outcomes.<kind>` | Read; and Read on a group of their own |
| other readers of events | topic | `<prefix>events.<kind>` | Read; and Read on a group of their own |
| other deployments: workers that react to events, `annals reactions` | topic | `<prefix>events.<kind>` | Read |

Nobody but workers should have Write on `<prefix>events.<kind>`, `<prefix>outcomes.<kind>` and
`<prefix>snapshots.<kind>`. Only workers and `annals subscriptions` should have Write on `<prefix>subscriptions`, only
these and `annals reactions` on `<prefix>progress`, and `annals reactions` alone on `<prefix>reactions`; only workers on
`<prefix>subscribers.*`, `<prefix>parked.*`, `<prefix>deliveries.*`, `<prefix>timers.*` and `<prefix>rekeyed.*`: a
record in `<prefix>subscriptions` has all events copied, one in `<prefix>progress` loses or doubles them, one in
`<prefix>timers.*` sends commands at any time, and one in `<prefix>rekeyed.*` is reacted to, or folded, as an event that
counts. Write on `<prefix>acks.<name>` is for that subscriber alone. What else is written to a journal changes nothing,
since it does not count, but it raises an alarm.
"""


def _name(right: Right) -> str:
    name = right.name.replace("p.", PREFIX, 1)
    if name.endswith(".r"):
        return name.removesuffix(".r") + f".{REACTION}"
    if right.resource is Resource.GROUP:  # all names of groups begin with the app id
        name = name.replace(f"{PREFIX}a", f"{PREFIX}{APP_ID}", 1)
    name = name.removesuffix(".k") + f".{KIND}" if name.endswith(".k") else name.replace(".k-", f".{KIND}-")
    return f"{name}*" if right.is_prefix else name
