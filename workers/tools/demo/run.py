"""The demo from start to end: the stage is set, the story told, each claim checked, and nothing left behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.cid import cid_text
from annals.schemas.kinds import KINDS
from annals.workers.client import CommandClient, NoAnswerError
from annals.workers.client.api_client import ApiClient
from annals.workers.client.history import history
from annals.workers.tools.demo.memory import Memory, remember
from annals.workers.tools.demo.proofs import caught, each_once, journal, kept_heads, tampered_copy, whole_journal
from annals.workers.tools.demo.reacting import Reactions
from annals.workers.tools.demo.reading import read
from annals.workers.tools.demo.sequel import model_of, sequel
from annals.workers.tools.demo.stage import Stage
from annals.workers.tools.demo.story import ADA, ADA_TWICE, STORY, research_id
from annals.workers.tools.demo.subscribing import subscribe
from annals.workers.tools.demo.teller import DifferedError, Teller, short
from annals.workers.tools.demo.trials import conflict, counted_statuses, flood

if TYPE_CHECKING:
    from pathlib import Path

    from annals.workers.tools.demo.proofs import Record
    from annals.workers.tools.demo.show import Show, Status
    from annals.workers.tools.demo.story import Scene

WORKERS: Final = 2
ANSWER_S: Final = 180.0  # longer than a killed worker's partitions wait for another one


def run(show: Show, data_dir: Path | None) -> dict[str, Any]:
    """Run the demo; return what it found, as JSON types. `differed` is None when everything was as the story has it.

    Raises:
        NotOurFolderError: `data_dir` holds something else.
        BrokerError: Kafka does not start.
    """
    began = perf_counter()
    with Stage(data_dir) as stage:
        found: dict[str, Any] = {"run": stage.memory.runs + 1, "differed": None}
        try:
            _Run(stage, show, found).run()
        except (DifferedError, NoAnswerError) as error:
            found["differed"] = str(error)
    found |= {"seconds": round(perf_counter() - began, 1), "data_dir": str(stage.folder) if stage.is_kept else None}
    _show_end(show, found)
    return found


class _Run:
    def __init__(self, stage: Stage, show: Show, found: dict[str, Any]) -> None:
        self._stage = stage
        self._show = show
        self._found = found
        self._number: int = found["run"]
        self._before = stage.memory
        self._versions = dict(stage.memory.heads)  # of the story's aggregates
        self._answers: dict[str, str] = {}
        self._scenes = 0

    def run(self) -> None:
        self._set_stage()
        self._remember(Memory(self._before.runs, self._number, self._before.heads, self._before.answers))
        asyncio.run(self._tell())
        self._remember(Memory(self._number, self._number, self._versions, self._answers))

    def _remember(self, memory: Memory) -> None:
        if self._stage.is_kept:
            remember(self._stage.folder, memory)

    def _set_stage(self) -> None:
        show, stage = self._show, self._stage
        show.say(("annals demo", "bold"), (": real parts, started for you, and gone when it ends", "dim"))
        began = perf_counter()
        with show.waiting("Starting Apache Kafka") as status:
            topics = stage.start_broker(_Progress(status))
        self._stands(
            began, "Apache Kafka", f"at {stage.settings.bootstrap_servers}, without Docker or an installed Java"
        )
        made = f"{topics} made" if topics else "there already"
        self._stands(
            None, "topics", f"{made}: commands, events, outcomes and snapshots of seven kinds, and what they share"
        )
        began = perf_counter()
        with show.waiting("Starting two workers"):
            stage.start_workers(WORKERS)
        shared = " and ".join(f"{len(worker.person_partitions())} (pid {worker.pid})" for worker in stage.workers)
        self._stands(began, "two workers", f"share the partitions of each kind: {shared}, which also reads")

    def _stands(self, began: float | None, what: str, how: str) -> None:
        took = "" if began is None else f" ({perf_counter() - began:.1f} s)"
        self._show.line("ok", (f"{what:<14}", ""), (f"{how}{took}", "dim"))

    def _scene(self, title: str, meaning: str) -> None:
        self._scenes += 1
        self._show.scene(f"{self._scenes} {title}", meaning)

    async def _tell(self) -> None:
        settings, show = self._stage.settings, self._show
        api_url = self._stage.workers[-1].api_url
        async with CommandClient(settings, timeout_s=ANSWER_S) as client, ApiClient(api_url) as api:
            await self._tell_story(client, api)
            await self._show_reading(api)
            await self._show_subscriber(api)
            await self._show_conflict(client)
            guests = await self._kill_worker(client)
        await self._show_chain()
        records = await journal(settings, "person")
        await self._show_tampering(records)

        self._scene("The whole journal", "$ annals verify")
        versions = self._versions | guests
        report = await asyncio.to_thread(whole_journal, settings, KINDS, versions)
        self._found["verify"] = report.as_json()
        counted = f"{report.events:,} events of {report.aggregates} aggregates, 0 void, 0 foreign"
        show.line("ok", (f"{counted}: ", "green"), ("every CID and every link computed again", ""))
        show.line("ok", ("as many events of each aggregate as the outcomes told of: none lost, none twice", ""))
        if self._before.heads:
            await asyncio.to_thread(kept_heads, settings, self._before.heads)
            show.line(
                "ok", (f"the {len(self._before.heads)} heads kept from run {self._before.runs} are in the chains", "")
            )
        self._found["kept_heads"] = len(self._before.heads)

    async def _tell_story(self, client: CommandClient, api: ApiClient) -> None:
        reactions = Reactions(api, is_first=self._before.begun == 0)
        settings, show, before = self._stage.settings, self._show, self._before
        teller = Teller(client, reactions, settings, show, before, chapter=1)
        for scene in STORY:
            await self._tell_scene(teller, scene)
        self._answers = teller.answers
        told = [teller]
        if self._number > 1:
            teller = Teller(client, reactions, settings, show, before, chapter=self._number)
            await self._tell_scene(teller, sequel(self._number))
            told.append(teller)
        for each in told:
            self._versions |= {
                name: head for name, head in each.versions.items() if head > self._versions.get(name, (0, ""))
            }
        self._found["story"] = dict(told[0].statuses)
        self._found["sequel"] = dict(told[1].statuses) if len(told) > 1 else None
        self._found["reactions"] = [each for teller in told for each in teller.reacted]

    async def _tell_scene(self, teller: Teller, scene: Scene) -> None:
        before = teller.statuses.total()
        self._scene(
            scene.title, "Told before, and sent again under the same ids." if teller.is_telling_again else scene.meaning
        )
        await scene.tell(teller)
        if teller.is_telling_again:
            count = teller.statuses.total() - before
            self._show.line("same", (f"{count} commands, {count} duplicates", "cyan"), (": the CIDs of then", "dim"))

    async def _show_reading(self, api: ApiClient) -> None:
        self._scene("What people ask", "Whoever reads answers over HTTP, and not before it has what was expected.")
        self._found["reading"] = await read(api, self._show, self._versions, research_id(self._number))

    async def _show_subscriber(self, api: ApiClient) -> None:
        self._scene("A subscriber answers", "What it cannot take is parked, and holds up its own aggregate alone.")
        stage, model = self._stage, model_of(self._number)
        self._found["subscriber"] = await subscribe(api, stage.settings, stage.folder, self._show, model)

    async def _show_conflict(self, client: CommandClient) -> None:
        self._scene("Two at once", "Two clerks saw the same version of the lab, and both change its capacity.")
        expected, winner, loser = await conflict(client, self._stage.settings)
        self._show.line("ok", (f"one wins: {winner.events[0].type} v{winner.version}", "green"))
        code = "" if loser.error is None else loser.error.code
        says = f"the other is told: {code}, it expected version {expected}, and now it is {loser.version}"
        self._show.line("no", (says, "yellow"))
        self._versions["location/lab"] = (winner.version, winner.head or "")
        self._found["conflict"] = {"expected": expected, "version": winner.version}

    async def _kill_worker(self, client: CommandClient) -> dict[str, tuple[int, str]]:
        stage, show = self._stage, self._show
        victim = stage.workers[0]
        pid, owned = victim.pid, victim.person_partitions()
        self._scene("A worker dies", "Thousands of commands are under way when one of the two workers is killed.")
        with show.waiting(f"kill -9 {pid}: the other worker takes its partitions over, in some ten seconds"):
            found = await flood(client, self._number, stage.settings, owned, victim.kill)
        total = len(found.ids)
        show.line(
            "no",
            (f"kill -9 {pid}", "bold red"),
            (f" after {found.answered_before:,} of {total:,} answers, with {found.in_its_hands} commands in hand", ""),
        )
        show.line("ok", (f"the other worker answers the rest: {found.seconds:.1f} s later all are answered", ""))
        each_once(await journal(stage.settings, "person"), found.ids)
        counted = f"{total:,} commands, {counted_statuses(found)}"
        show.line(
            "ok", (f"{counted}; counted in the journal: each has its event, ", ""), ("none lost, none twice", "green")
        )
        self._found["killed"] = {
            "commands": total,
            "answered_before": found.answered_before,
            "in_hand": found.in_its_hands,
            "seconds": round(found.seconds, 1),
            "lost": 0,
            "twice": 0,
        }
        return found.versions

    async def _show_chain(self) -> None:
        show = self._show
        self._scene("One chain", f"$ annals events person {ADA}: each event holds the CID of the one before.")
        chain = []
        async with aclosing(history(self._stage.settings, "person", ADA)) as events:
            async for counted in events:
                event, cid = counted.event, cid_text(counted.cid)
                previous = event["previous"]
                link = None if previous is None else cid_text(previous)
                chain.append({"version": event["version"], "type": event["type"], "cid": cid, "previous": link})
                show.say(
                    (f"  {event['version']:>3} ", "dim"),
                    (f"{event['type']:<17} ", ""),
                    (cid, "green"),
                    (f"  after {'nothing' if link is None else short(link)}", "dim"),
                )
        show.say(("      head: ", "dim"), (chain[-1]["cid"], "green"))
        self._found["chain"] = chain

    async def _show_tampering(self, records: list[Record]) -> None:
        show, settings = self._show, self._stage.settings
        self._scene(
            "A tampered copy", "A copy of two chains, in which somebody with access to the disk has been at work."
        )
        head = self._versions[f"person/{ADA_TWICE}"][1]
        async with tampered_copy(settings, records, ADA, ADA_TWICE) as copy:
            altered, cut = await asyncio.to_thread(caught, copy, head)
        show.line("wrong", (f"another e-mail address in event 2 of {ADA}, its CID and headers made to fit", "red"))
        show.line(
            "ok",
            (f"caught at version {altered.version}, offset {altered.offset}: ", "green"),
            (short(altered.reason), "dim"),
        )
        show.line("wrong", (f"the last event of {ADA_TWICE} cut off: what is left is a chain by itself", "red"))
        show.line("ok", ("caught by the kept head: ", "green"), (short(cut.reason), "dim"))
        self._found["tampered"] = {"altered": altered._asdict(), "cut": cut._asdict()}


class _Progress:
    """Says how far the first download of Kafka is."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, done: int, total: int) -> None:
        self._status.update(
            f"Fetching Apache Kafka from Maven Central, the first time only: {done} of {total} jars"
            if done < total
            else "Starting Apache Kafka"
        )


def _show_end(show: Show, found: dict[str, Any]) -> None:
    show.say()
    if found["differed"] is not None:
        show.line("wrong", (f"this was not as it should be: {found['differed']}", "bold red"))
    else:
        show.line("ok", ("Everything held, ", "bold green"), (f"in {found['seconds']:.0f} s. No process is left.", ""))
    if found["data_dir"] is not None:
        show.say((f"    The data are in {found['data_dir']}: run it again, and the chains go on.", "dim"))
