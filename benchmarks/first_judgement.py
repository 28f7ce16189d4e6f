"""How long somebody who was invited waits until the first judgement counts.

``crowd-rounds ui`` and ``crowd-rounds serve`` run as processes on a home whose outbox has comparisons. One after another, ``--people`` open an
invitation, agree and send a judgement at once; then the judgement's event is looked for in the warehouse, where a round takes it from. What a
person takes to read and think is not in the figure: it is what the machine adds.

Goal: ``longest_s`` at most 30.

Belongs here: that. Does not belong here: many people at once (see ``desk``).
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.desk import RECEIPT, Server, comparison, token_of
from crowd_assets.desk.desk import open_desk
from resources.build import build_resources
from resources.feedback.inbox import COMPARISON_TASKS
from resources.home.identity import open_home
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

BETWEEN_LOOKS_S = 0.25
PATIENCE_S = 300.0


def measure(people: int) -> dict[str, Any]:
    """The seconds of each of some people."""
    with tempfile.TemporaryDirectory() as folder:
        home, ports = Path(folder, "home"), [_free_port(), _free_port()]
        settings = CrowdSettings(home=str(home))
        resources = build_resources(settings)
        open_home(settings, resources.warehouse)
        resources.outbox.publish(COMPARISON_TASKS, "r000001", [comparison(number) for number in range(3 * people)])
        settings.inbox_path.mkdir(parents=True, exist_ok=True)
        desk = open_desk(settings, resources, "")
        links = [desk.invitation_url(each) for each in desk.store.invite([f"person-{n}" for n in range(people)])]
        desk.store.close()
        server = Server(home, ports[0])
        server.start()
        command = [sys.executable, "-m", "crowd_assets", "ui", "--port", str(ports[1])]
        environment = {**os.environ, "CROWD_HOME": str(home)}
        with Path(folder, "ui.log").open("wb") as log:
            ui = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            asyncio.run(server.ready())
            _answers(f"http://127.0.0.1:{ports[1]}/server_info")
            seconds = [_first(f"http://127.0.0.1:{ports[0]}", link, resources.warehouse) for link in links]
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait(60)
            server.end(signal.SIGINT)
    return {
        "benchmark": "first_judgement",
        "people": people,
        "median_s": round(statistics.median(seconds), 1),
        "longest_s": round(max(seconds), 1),
        "seconds": [round(each, 1) for each in seconds],
    }


def _first(url: str, link: str, warehouse: WarehouseResource) -> float:
    begun = time.monotonic()
    with httpx2.Client(base_url=url, follow_redirects=True, timeout=60) as browser:
        page = browser.post(link).text
        browser.post("/consent", data={"token": token_of(page), "agreed": "yes"})
        page = browser.get("/compare").text
        found = RECEIPT.search(browser.post("/compare", data={"token": token_of(page), "strength": "2"}).text)
    if found is None:
        raise RuntimeError("the judgement was not received")
    while not warehouse.query("SELECT count(*) FROM event_index WHERE event_id = $id", {"id": found[1]}).item():
        if time.monotonic() - begun > PATIENCE_S:
            raise RuntimeError(f"the judgement {found[1]} did not count within {PATIENCE_S:.0f} s")
        time.sleep(BETWEEN_LOOKS_S)
    return time.monotonic() - begun


def _answers(url: str) -> None:
    begun = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() - begun > PATIENCE_S:
                raise
            time.sleep(BETWEEN_LOOKS_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """One JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5)
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
