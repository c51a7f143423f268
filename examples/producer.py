"""A producer that is never in doubt: what has no answer is sent again, what was overtaken is decided anew.

Needs a worker (`annals broker`, `annals topics create`, `annals worker`), and the same settings as that:

    python examples/producer.py [PERSON_ID]

Two rules are all there is to it. A wish has one id for ever: without an answer it is sent again *under the same id*,
and happens once. And it says for which version and head it was made: when somebody was faster, nothing happens, and the
producer looks again (`version_conflict`). Where the version is the one that was seen and the head is not, the history
is another one (`head_conflict`): that is no race, and for a person to look at.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Final

from annals.client import (
    REJECTED,
    VERSION_CONFLICT,
    CommandClient,
    NewCommand,
    NoAnswerError,
    command,
    load_settings,
    new_id,
)
from annals.schemas.kinds.person import AddEmail, RegisterPerson, RenamePerson

if TYPE_CHECKING:
    from annals import Message, Outcome

ATTEMPTS: Final = 5


async def carry_out(client: CommandClient, wish: NewCommand) -> Outcome:
    """Send a command until there is an answer, each time under the same id.

    Raises:
        NoAnswerError: there was none at the last attempt either: no worker runs.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await client.send(wish.kind, wish.envelope())
        except NoAnswerError as unknown:
            print(f"{unknown}")
    return await client.send(wish.kind, wish.envelope())


async def change(client: CommandClient, person_id: str, message: Message, seen: Outcome) -> Outcome:
    """Change a person as it was seen; when somebody was faster, as it is now, which the rejection says.

    Here the wish is the same at any version. Where it is not, read the aggregate again before you wish again.
    """
    while True:
        # A new attempt is a new wish: the old one was answered, by a rejection.
        wish = command("person", person_id, message).with_id(new_id()).by("example-producer")
        outcome = await carry_out(client, wish.expecting(seen.version, seen.head))
        show(outcome)
        if outcome.status != REJECTED or outcome.error is None or outcome.error.code != VERSION_CONFLICT:
            return outcome
        seen = outcome


def show(outcome: Outcome) -> None:
    """Print what became of a command."""
    events = ", ".join(event.type for event in outcome.events)
    why = "" if outcome.error is None else f"{outcome.error.code}: {outcome.error.message}"
    print(f"{outcome.aggregate_id} version {outcome.version}: {outcome.status} {events or why or 'already true'}")


async def main(person_id: str) -> None:
    """Register a person, and change it twice; the second change was made for a version that is no more."""
    async with CommandClient(load_settings(), timeout_s=10) as client:
        register = command("person", person_id, RegisterPerson(name="Ada Lovelace")).with_id(new_id()).expecting(0)
        registered = await carry_out(client, register)
        show(registered)
        show(await carry_out(client, register))  # as if the answer had been lost: a duplicate, the same event
        await change(client, person_id, RenamePerson(name="Ada King"), registered)
        last = await change(client, person_id, AddEmail(email="ada@example.org"), registered)
        print(f"keep the head, it proves all before it: {last.head}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("person_id", nargs="?", default=new_id(), metavar="PERSON_ID", help="default: a new one")
    asyncio.run(main(parser.parse_args().person_id))
