"""A desk that is killed again and again while people send forms: what was acknowledged lies in the inbox once.

    python -m tests.e2e.crash.desk --kills 300 --seed 0

ends by printing one JSON line. Each life of the desk is a fork of this process that serves a socket which stays open, and dies before, during
or after one of the points at which something becomes durable. People send a form again that was not answered, as browsers do. Now and then
what lies in the inbox is taken in between two lives. Belongs here: killing desks, people, what must hold. Does not belong here:
points (see ``points``).
"""

import asyncio
import json
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Annotated

import httpx2
import typer
import uvicorn

from crowd_assets.desk.app import desk_app
from crowd_assets.desk.desk import open_desk
from crowd_assets.desk.work import LOTS
from resources.build import build_resources
from resources.feedback.inbox import COMPARISON_TASKS
from resources.home.identity import open_home
from resources.settings.resource import CrowdSettings
from tests.e2e.crash.points import LONGEST_CALL_S, SIDES, Kill, Points

TOKEN = re.compile(r'name="token" value="([^"]+)"')
RECEIPT = re.compile(r"<code>(desk-[0-9a-f]{32})</code>")
PEOPLE = 8
PROMPTS = 2_000
REACH = 40  # points: a life that is to die further on is killed by time
LONGEST_THOUGHT_S = 0.1
SHARE_BY_LABEL = 0.5  # of the kills: else nearly all would strike where a form is kept
LONGEST_LIFE_S = 3.0
LIVES_BETWEEN_INTAKES = 50
FILES_TAKEN_IN = 10
RANKED = 4
TAKE_IN = f"""
from resources.build import build_resources
from resources.settings.resource import CrowdSettings
build_resources(CrowdSettings.from_environment()).inbox.ingest(most_files={FILES_TAKEN_IN})
"""


@dataclass
class Figures:
    """What was counted; ``lost`` and ``twice`` are what must be 0, ``torn`` rankings of which a part is missing."""

    kills: int = 0
    by_side: Counter[str] = field(default_factory=Counter)
    by_point: Counter[str] = field(default_factory=Counter)
    intakes: int = 0
    acknowledged: int = 0
    sent_again: int = 0
    in_inbox: int = 0
    lost: int = 0
    twice: int = 0
    torn: int = 0
    seconds: float = 0.0


class KilledDesk:
    """A home, the socket of its desk, and people who send forms until they are told to stop."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self.settings = CrowdSettings(
            home=str(folder / "home"), desk_batch_s=0.25, desk_forms_per_minute=1_000_000, desk_judgements=1_000
        )
        self._note = folder / "note.json"
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(100)
        self._url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._over = False
        self.acknowledged: set[str] = set()
        self.figures = Figures()
        resources = build_resources(self.settings)
        open_home(self.settings, resources.warehouse)
        resources.outbox.publish(LOTS, "r000001", [{"lot_id": "lot-1", "prompt": "How was the fair?"}])
        resources.outbox.publish(COMPARISON_TASKS, "r000001", _tasks())
        desk = open_desk(self.settings, resources, "")
        self._links = [desk.invitation_url(each) for each in desk.store.invite([f"p{n}" for n in range(PEOPLE)])]
        desk.store.close()

    async def run(self, kills: int) -> Figures:
        """Kill the desk so many times, let it end well once, and look at what lies in the home."""
        begun = time.monotonic()
        people = [asyncio.create_task(self._person(link, number)) for number, link in enumerate(self._links)]
        labels = await self._undisturbed()
        for life in range(1, kills + 1):
            delay = self._rng.random() * LONGEST_CALL_S
            if self._rng.random() < SHARE_BY_LABEL:
                await self._life(
                    Kill(self._rng.randint(1, 3), self._rng.choice(SIDES), self._rng.choice(labels), delay)
                )
            else:
                await self._life(Kill(self._rng.randint(1, REACH), self._rng.choice(SIDES), delay_s=delay))
            if life % LIVES_BETWEEN_INTAKES == 0:
                await self._take_in()
                self.figures.intakes += 1
                print(f"{life} of {kills} kills, {len(self.acknowledged)} acknowledged", file=sys.stderr, flush=True)
            for each in people:
                if each.done():
                    each.result()  # somebody who cannot go on says why
        self._over = True
        last = _forked(lambda: self._serve(None, -1))
        await asyncio.gather(*people)
        os.kill(last, signal.SIGINT)
        await self._ended(last, 60)
        self._look()
        self.figures.seconds = round(time.monotonic() - begun, 1)
        return self.figures

    async def _undisturbed(self) -> list[str]:
        """A first life that ends well: the names of its points."""
        pid = _forked(lambda: self._serve(None, -1))
        while len(self.acknowledged) < PEOPLE:
            await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGINT)
        await self._ended(pid, 60)
        found = json.loads(self._note.read_text())
        self._note.unlink()
        return sorted(found["counts"])

    async def _life(self, kill: Kill) -> None:
        asked, killer = os.pipe()
        pid = _forked(lambda: self._serve(kill, killer))
        os.close(killer)
        loop, wants = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(asked, wants.set)  # also at the end of the life
        try:
            async with asyncio.timeout(LONGEST_LIFE_S):
                await wants.wait()
            await asyncio.sleep(float(os.read(asked, 100).decode() or 0))
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(asked)
            os.close(asked)
        await self._ended(pid, 0)
        self.figures.kills += 1
        note = json.loads(self._note.read_text()) if self._note.exists() else {"label": "a moment", "side": "during"}
        self._note.unlink(missing_ok=True)
        self.figures.by_point[note["label"]] += 1
        self.figures.by_side[note["side"]] += 1

    async def _ended(self, pid: int, seconds: float) -> None:
        """Wait for the end of a process; kill it after ``seconds``."""
        until = time.monotonic() + seconds
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                    raise AssertionError(f"a process failed: see {self._note.parent}/log")
                return
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                until = float("inf")
            await asyncio.sleep(0.002)

    def _serve(self, kill: Kill | None, killer: int) -> None:
        log = os.open(self._note.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        points = Points(Path(self.settings.home), kill, self._note, killer)
        points.install()
        desk = open_desk(self.settings, build_resources(self.settings), self._url)
        config = uvicorn.Config(desk_app(desk), log_level="warning", access_log=False, loop="asyncio")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[self._socket])
        points.close()

    async def _take_in(self) -> None:
        """Take some of what lies in the inbox in, in a process that has threads of its own."""
        environment = {**os.environ, "CROWD_HOME": self.settings.home}
        ingestion = await asyncio.create_subprocess_exec(sys.executable, "-c", TAKE_IN, env=environment)
        assert await ingestion.wait() == 0

    async def _person(self, link: str, number: int) -> None:
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncClient(
            base_url=self._url, limits=limits, timeout=10, follow_redirects=True, verify=False
        ) as client:
            text = await self._ask(client, "POST", link, {})
            if "Before you begin" in text:
                await self._ask(client, "POST", "/consent", {"token": _token(text), "agreed": "yes"})
            said = 0
            while not self._over:
                await asyncio.sleep(self._rng.random() * LONGEST_THOUGHT_S)
                said += 1
                if said % 4 == number % 4:
                    text = await self._ask(client, "GET", "/write?lot=lot-1")
                    form = {"token": _token(text), "response": f"Answer {said} of person {number}, freely given."}
                    text = await self._ask(client, "POST", "/write", form)
                else:
                    text = await self._ask(client, "GET", "/compare")
                    places = {f"place-{at}": str(self._rng.randint(1, RANKED)) for at in range(RANKED)}
                    form = {"token": _token(text), "strength": str(self._rng.randrange(9)), **places}
                    text = await self._ask(client, "POST", "/compare", form)
                found = RECEIPT.search(text)
                assert found is not None, text
                self.acknowledged.add(found[1])

    async def _ask(self, client: httpx2.AsyncClient, method: str, path: str, form: dict[str, str] | None = None) -> str:
        """One page, asked for until it is answered."""
        while True:
            try:
                answer = await client.request(method, path, data=form)
            except httpx2.TransportError:
                self.figures.sent_again += method == "POST"
                await asyncio.sleep(0.005)
                continue
            assert answer.status_code < 400, answer.text
            return answer.text

    def _look(self) -> None:
        """Count what lies in the inbox and in the archive. A file that lies in both is one: ingestion knows its content."""
        files = [*self.settings.inbox_path.glob("*.jsonl"), *self.settings.archive_path.rglob("*.jsonl")]
        lines = [
            json.loads(line)
            for text in {file.read_text(encoding="utf-8") for file in files}
            for line in text.splitlines()
        ]
        found = Counter(each["event_id"] for each in lines)
        parts = Counter((each["contributor_id"], each["prompt"]) for each in lines if "judgement_share" in each)
        figures = self.figures
        figures.acknowledged, figures.in_inbox = len(self.acknowledged), len(found)
        figures.lost = len(self.acknowledged - set(found))
        figures.twice = found.total() - len(found)
        figures.torn = sum(number != RANKED * (RANKED - 1) // 2 for number in parts.values())


def _tasks() -> list[dict[str, str]]:
    """Of every other prompt one pair, of the others two, whose answers are ranked."""
    return [
        {
            "comparison_id": f"r000001-{2 * number + pair:016x}",
            "prompt": f"Question {number}?",
            "response_a": f"Answer {2 * pair} to question {number}.",
            "response_b": f"Answer {2 * pair + 1} to question {number}.",
        }
        for number in range(PROMPTS)
        for pair in range(1 + number % 2)
    ]


def _forked(do: Callable[[], None]) -> int:
    """A process that does something and ends."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        do()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _token(text: str) -> str:
    found = TOKEN.findall(text)
    assert found, text
    return unescape(found[-1])


def killed_desk(kills: int, seed: int) -> Figures:
    """The figures of a desk that was killed so many times."""
    with tempfile.TemporaryDirectory(prefix="crash-desk-") as folder:
        return asyncio.run(KilledDesk(Path(folder), seed).run(kills))


def main(kills: Annotated[int, typer.Option()] = 300, seed: Annotated[int, typer.Option()] = 0) -> None:
    """Kill a desk and print one JSON line."""
    print(json.dumps({"harness": "desk", **vars(killed_desk(kills, seed))}))


if __name__ == "__main__":
    typer.run(main)
