"""A crowd at the desk at once: how long pages take, and whether what was acknowledged lies in the inbox exactly once.

``crowd-rounds serve`` runs in a process of its own on a home whose outbox has comparisons. Each of ``--people`` opens an invitation, agrees,
and then compares: a page, a while of thinking, a form, again and again for ``--seconds``. With ``--kills`` the desk is killed that many times at
random moments (SIGKILL) and started again, and people send the form again that was not answered, as a browser does. At the end every
acknowledged event is looked for in the inbox.

Goals: ``p95_ms`` at most 200 with 1,000 people on two cores, ``lost`` and ``twice`` 0 always.

Belongs here: the crowd, its figures. Does not belong here: what a page must show (see the tests).
"""

import argparse
import asyncio
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import httpx2

from crowd_assets.desk.desk import open_desk
from crowd_assets.desk.work import LOTS
from resources.build import build_resources
from resources.feedback.inbox import COMPARISON_TASKS
from resources.home.identity import open_home
from resources.settings.resource import CrowdSettings

TOKEN = re.compile(r'name="token" value="([^"]+)"')
RECEIPT = re.compile(r"<code>(desk-[0-9a-f]{32})</code>")
COMPARISONS = 5_000
JOINING_S = 60.0  # people come within a minute


class Crowd:
    """People who compare until time is up."""

    def __init__(self, url: str, links: list[str], seconds: float, thinking: float, rng: random.Random) -> None:
        self.url, self.links, self.seconds, self.thinking, self.rng = url, links, seconds, thinking, rng
        self.times: list[float] = []
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.again = 0
        self.end = 0.0

    async def run(self) -> None:
        """Everybody, at once."""
        self.end = time.monotonic() + JOINING_S + self.seconds
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        async with asyncio.TaskGroup() as group:
            for link in self.links:
                group.create_task(self._person(link, limits, self.rng.random() * JOINING_S))

    async def _person(self, link: str, limits: httpx2.Limits, begins: float) -> None:
        await asyncio.sleep(begins)
        async with _client(self.url, limits) as client:
            text = await self._ask(client, "POST", link, {})
            if "Before you begin" in text:
                await self._ask(client, "POST", "/consent", {"token": token_of(text), "agreed": "yes"})
            text = await self._ask(client, "GET", "/compare")
            while time.monotonic() < self.end and "strength" in text:
                await asyncio.sleep(self.rng.expovariate(1 / self.thinking))
                form = {"token": token_of(text), "strength": str(self.rng.randrange(9))}
                text = await self._ask(client, "POST", "/compare", form)
                if (found := RECEIPT.search(text)) is not None:
                    self.acknowledged.add(found[1])

    async def _ask(self, client: httpx2.AsyncClient, method: str, path: str, form: dict[str, str] | None = None) -> str:
        """One page, asked for until it is answered."""
        while True:
            begun = time.perf_counter()
            try:
                answer = await client.request(method, path, data=form)
            except httpx2.TransportError:
                self.again += 1
                await asyncio.sleep(0.2 + self.rng.random() * 0.3)
                continue
            self.times.append(time.perf_counter() - begun)
            self.statuses[answer.status_code] += 1
            if answer.status_code < 500:
                return answer.text
            await asyncio.sleep(0.2)


class Server:
    """``crowd-rounds serve``, started, killed and started again."""

    def __init__(self, home: Path, port: int) -> None:
        self._port = port
        self._environment = {
            **os.environ,
            "CROWD_HOME": str(home),
            "CROWD_DESK_BATCH_S": "1",
            "CROWD_DESK_JUDGEMENTS": "100000",
        }
        self.cpu_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "crowd_assets", "serve", "--port", str(self._port)]
        self._process = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL)

    async def ready(self) -> None:
        """Wait until it answers."""
        while True:
            try:
                async with httpx2.AsyncClient() as client:
                    await client.get(f"http://127.0.0.1:{self._port}/health", timeout=5)
                return
            except httpx2.TransportError:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise RuntimeError("the desk ended") from None
                await asyncio.sleep(0.1)

    def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def measure(people: int, seconds: float, thinking: float, kills: int, seed: int) -> dict[str, Any]:
    """The figures of one crowd."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        home = Path(folder, "home")
        settings = CrowdSettings(home=str(home))
        resources = build_resources(settings)
        open_home(settings, resources.warehouse)
        resources.outbox.publish(LOTS, "r000001", [{"lot_id": "lot-1-0", "prompt": "How was the fair?"}])
        resources.outbox.publish(COMPARISON_TASKS, "r000001", [comparison(number) for number in range(COMPARISONS)])
        desk = open_desk(settings, resources, "")
        links = [desk.invitation_url(each) for each in desk.store.invite([f"person-{n}" for n in range(people)])]
        desk.store.close()
        server = Server(home, port)
        server.start()
        await server.ready()
        crowd = Crowd(f"http://127.0.0.1:{port}", links, seconds, thinking, rng)
        busy = asyncio.create_task(crowd.run())
        for _ in range(kills):
            await asyncio.sleep(rng.random() * 2 * (seconds + JOINING_S) / max(kills, 1))
            if busy.done():
                break
            server.end(signal.SIGKILL)
            server.start()
            await server.ready()
        await busy
        server.end(signal.SIGINT)
        lines = [
            json.loads(line)["event_id"]
            for file in settings.inbox_path.glob("*.jsonl")
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
    counts = Counter(lines)
    times = sorted(crowd.times)
    return {
        "benchmark": "desk",
        "people": people,
        "kills": kills,
        "pages": len(times),
        "pages_per_s": round(len(times) / (seconds + JOINING_S), 1),
        "p50_ms": round(1000 * times[len(times) // 2], 1),
        "p95_ms": round(1000 * times[int(len(times) * 0.95)], 1),
        "cpu_ms_per_page": round(1000 * server.cpu_s / len(times), 2),
        "acknowledged": len(crowd.acknowledged),
        "in_inbox": len(counts),
        "lost": len(crowd.acknowledged - set(counts)),
        "twice": sum(number - 1 for number in counts.values()),
        "asked_again": crowd.again,
        "statuses": dict(sorted(crowd.statuses.items())),
    }


def _client(url: str, limits: httpx2.Limits) -> httpx2.AsyncClient:
    """Somebody's browser. Certificates are not read: for a thousand of them that takes a minute."""
    return httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, follow_redirects=True, verify=False)


def comparison(number: int) -> dict[str, str]:
    """A comparison as a round publishes it."""
    return {
        "comparison_id": f"r000001-{number:016x}",
        "prompt": f"Question {number}?",
        "response_a": f"The first answer to question {number}.",
        "response_b": f"The second answer to question {number}.",
    }


def token_of(text: str) -> str:
    """The token of the last form of a page."""
    return unescape(TOKEN.findall(text)[-1])


def main() -> None:
    """One JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--thinking", type=float, default=15.0, help="mean seconds from a page to a form")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(asyncio.run(measure(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
