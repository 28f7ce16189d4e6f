"""The platform with the stub trainer: what a daemon serves, and rounds without one.

    python -m tests.e2e.crash.stubbed daemon      # a daemon on the home's own instance
    python -m tests.e2e.crash.stubbed alone 3     # three rounds, each on one file of the crowd
    python -m tests.e2e.crash.stubbed round 1     # what make round does, for a machine that NAMED calls otherwise

Belongs here: homes of which a test makes processes. Does not belong here: killing and comparing (see ``harness``, ``invariants``).
"""

import json
import os
import socket
import sys
import tempfile
from typing import Any

import yaml
from dagster import Definitions
from upath import UPath

from crowd_assets.commands.campaign import campaign
from crowd_assets.definitions import build_definitions
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.files.storage import write_text_atomically
from resources.home.identity import open_home
from resources.home.instance import prepare_instance
from resources.settings.resource import CrowdSettings
from tests.e2e.crash.crowd import make_crowd_smaller
from tests.e2e.crash.stub import StubTrainer

NAMED = "STUBBED_MACHINE"


def build() -> Definitions:
    """The graph of the home of the environment; the home is begun where it is not."""
    settings = CrowdSettings.from_environment()
    resources = build_resources(settings)
    open_home(settings, resources.warehouse)
    return build_definitions(settings, resource_overrides={"trainer": StubTrainer(**dict(resources.trainer))})


def send(settings: CrowdSettings, number: int, folder: UPath) -> None:
    """What the crowd sends before a round, as one file: it arrives at once, whoever takes it in."""
    tasks = settings.outbox_path / "comparison_tasks" / f"r{number - 1:06d}.jsonl"
    published = [json.loads(line) for line in tasks.read_text().splitlines()] if tasks.exists() else []
    with tempfile.TemporaryDirectory() as place:
        files = SimulatedCrowd(settings.target_attribute, settings.seed).write_feedback(number, UPath(place), published)
        text = "".join(path.read_text() for path in files)
    write_text_atomically(folder / f"round-{number}.jsonl", text)


def serve(settings: CrowdSettings) -> None:
    """Become the daemon of a home, as ``crowd-rounds ui`` starts it."""
    open_home(settings, build_resources(settings).warehouse)
    folder = prepare_instance(settings)
    code = {
        "module_name": __name__ if __name__ != "__main__" else "tests.e2e.crash.stubbed",
        "attribute": "definitions",
    }
    workspace = folder / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": code}]}))
    os.execv(sys.executable, [sys.executable, "-m", "dagster._daemon", "run", "-w", str(workspace)])


def main(what: str, rounds: int = 0) -> None:
    """Do what the command line says."""
    settings = CrowdSettings.from_environment()
    if what == "daemon":
        serve(settings)
    if name := os.environ.get(NAMED):
        socket.gethostname = lambda: name
    make_crowd_smaller()
    with campaign(settings) as here:
        here.definitions = build()
        if what == "round":
            here.simulate(rounds)
            return
        for number in range(1, rounds + 1):
            with tempfile.TemporaryDirectory() as place:
                send(settings, number, UPath(place))
                here.take_in(place)


def __getattr__(name: str) -> Any:
    """``definitions``, what a code server and the processes of its runs load."""
    if name != "definitions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = build()
    return globals()[name]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
