"""docs/reference/topics.md, from `annals.topics.catalog`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.schemas.cid import cid_of, cid_text
from annals.topics.catalog import DURABLE_REPLICATION_FACTOR, REPLICATED, SETTINGS, catalogue, durability
from annals.topics.headers import dead_letter_headers, event_headers, forwarded_headers, outcome_headers
from annals.topics.names import TopicNames, transactional_id
from annals.topics.schemas import schema_headers
from annals.topics.spec import CO_PARTITIONED, Role
from generator.markdown import code, table

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN_KIND = "person"
SHOWN_SUBSCRIBER = "name"
SHOWN_REACTION = "a-reaction"
INTRO = """# Topics

Every name takes the prefix `ANNALS_TOPIC_PREFIX`. The five topics of a kind have the same number of partitions, and a
key lives in partition `(murmur2(key) & 0x7fffffff) % partitions`, as with the Java client's default.
"""
SETTINGS_INTRO = """## Settings

`annals topics create` makes them so. `annals topics check` and each worker compare: what breaks a *must* is refused,
what breaks a *should* is said.
"""


def page() -> str:
    """Return the page."""
    specs = catalogue(
        kinds=[SHOWN_KIND],
        subscribers=[SHOWN_SUBSCRIBER],
        with_deliveries=True,
        reactions={SHOWN_REACTION: SHOWN_KIND},
        rekeyed={SHOWN_REACTION: SHOWN_KIND},
    )
    parts = [
        INTRO,
        table(
            ["topic", "key", "value", "co-partitioned"],
            [
                [
                    code(_shown(spec.name)),
                    spec.key,
                    spec.value,
                    "with its kind" if spec.role in CO_PARTITIONED else "",
                ]
                for spec in specs
            ],
        ),
    ]
    parts.append(SETTINGS_INTRO)
    for role in Role:
        rows = [[code(each.name), code(each.value), str(each.rule), each.why] for each in SETTINGS[role]]
        name = next(_shown(spec.name) for spec in specs if spec.role is role)
        parts += [f"### {code(name)}\n", table(["setting", "value", "rule", "why"], rows)]
    parts.append(
        f"### All of them, by replication factor\n\nFrom {DURABLE_REPLICATION_FACTOR} copies on one can be lost.\n"
    )
    for factor in (1, REPLICATED, DURABLE_REPLICATION_FACTOR):
        rows = [[code(each.name), code(each.value), str(each.rule), each.why] for each in durability(factor)]
        parts += [f"Replication factor {factor}:\n", table(["setting", "value", "rule", "why"], rows)]
    return "\n".join([*parts, _headers(), _other_names()])


def _headers() -> str:
    """The headers of one example of each record, by the functions that write them."""
    trace = {"traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": b"vendor=value"}
    event = event_headers(
        kind=SHOWN_KIND,
        key=b"p-1",
        version=2,
        type_name="PersonRenamed",
        schema_version=1,
        recorded_at="2026-11-21T09:30:00.000000Z",
        cid=cid_text(cid_of(b"the block's bytes")),
        command_id="c-2",
        correlation_id="r-1",
        causation_id="c-1",
        actor="hr-service",
        **trace,
        via=b"hr,payroll",
    )
    outcome = outcome_headers("c-2", 17, 42, (b"3", b"5"), **trace)
    dead = dead_letter_headers([], "not_json", "unexpected character", "commands.person", 1, 17, 1795253400000)
    intro = "## Headers\n\nUTF-8 text. An example of each record; what is not known or not given is left out.\n"
    records: list[tuple[str, str, Sequence[tuple[str, bytes | None]]]] = [
        (
            "events.<kind>",
            "A CloudEvent, binary mode. They help to filter; only the block is covered by the CID.",
            event,
        ),
        ("outcomes.<kind>", "`origin-partition` and `origin-offset` only for a command that was forwarded.", outcome),
        ("dead-letters", "After the original headers; the last of a name is ours.", dead),
        ("schemas", "`release` is the one that published the schema first.", schema_headers("event", "0.1.0")),
        ("commands.<kind>", "Of a forwarded command, after the original headers.", forwarded_headers([], 3, 5)),
    ]
    parts = [intro]
    for name, what, headers in records:
        rows = [[code(header), code((value or b"").decode())] for header, value in headers]
        parts += [f"### {code(name)}\n\n{what}\n", table(["header", "example"], rows)]
    return "\n".join(parts)


def _other_names() -> str:
    names = TopicNames()
    rows = [
        ["consumer group", code(names.group("<app id>")), "`<prefix><app id>`"],
        ["transactional id", code(transactional_id(names.events(SHOWN_KIND), 0)), "the same for every app id"],
    ]
    return "## Other names in Kafka\n\n" + table(["what", "example", ""], rows)


def _shown(name: str) -> str:
    return (
        name.replace(f".{SHOWN_KIND}", ".<kind>")
        .replace(f".{SHOWN_SUBSCRIBER}", ".<name>")
        .replace(f".{SHOWN_REACTION}", ".<reaction>")
    )
