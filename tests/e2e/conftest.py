"""Projects of their own for tests with real processes: a home, a Dagster instance, and every process stopped afterwards;
and a browser.

Belongs here: starting, watching and stopping processes, and asking a running Dagster. Does not belong here: what they
should have done.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import psutil
import pytest
from dagster import DagsterInstance
from playwright.sync_api import Page, expect, sync_playwright
from upath import UPath

from crowd_assets.commands.campaign import PROJECT
from crowd_assets.forum import comments as forum
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.feedback.inbox import InboxResource
from resources.home.names import INGESTION_JOB, ROUND_JOB
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import PARTITION_TAG
from resources.warehouse.base import WarehouseResource
from resources.warehouse.schema import ROUND_TABLES
from sensors.rounds import next_run, round_quorum
from tests.conftest import QUICK

FIRST_ROUND = "r000001"
ORDINARY_COMMENTS = 400
SECONDS_BETWEEN_LOOKS = 0.25
PATIENCE = 3  # times longer than on a machine with nothing else to do
LOG_TAIL = 6_000  # characters of a process's log in a failure
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WINDOW = {"width": 1600, "height": 1040}
SECONDS_TO_SHOW = 30
SCREENSHOTS_FOLDER = os.environ.get("SCREENSHOTS_FOLDER")
"""Where pictures for the docs go, of a round with the default settings; else those of a test are its own."""

LOCATIONS = """{ workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""

Found = TypeVar("Found")


def wait_for(
    what: str, look: Callable[[], Found | None], *, seconds: float, explain: Callable[[], str] = lambda: ""
) -> Found:
    """The first thing that ``look`` finds, neither None nor False; fails with ``what`` and ``explain()`` when it is late."""
    deadline = time.monotonic() + seconds * PATIENCE
    while (found := look()) is None or found is False:
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds * PATIENCE:.0f} s\n{explain()}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody serves on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Worker:
    """A process in a group of its own, with everything it prints in one file."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._seen: set[psutil.Process] = set()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        """All it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """The end of its log, for a failure message."""
        state = self.process.poll()
        return (
            f"--- {self.log.name}, {'running' if state is None else f'exit {state}'} ---\n{self.printed()[-LOG_TAIL:]}"
        )

    def wait_for_line(self, text: str, *, seconds: float) -> None:
        """Wait until it has printed ``text``; a process that ends before fails at once."""

        def look() -> bool:
            if text in self.printed():
                return True
            if self.process.poll() is not None:
                pytest.fail(f"ended before it printed {text!r}\n{self.tail()}")
            return False

        wait_for(f"the line {text!r}", look, seconds=seconds, explain=self.tail)

    def finish(self, *, seconds: float) -> str:
        """Wait until it ends, in success; what it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds * PATIENCE)
        assert self.process.poll() == 0, self.tail()
        return self.printed()

    def kill(self) -> None:
        """SIGKILL for the group: as a machine without memory, or without power, ends it."""
        self._remember()
        self._signal_group(signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop(self) -> list[psutil.Process]:
        """End it and everything it started; the processes that would not go without SIGKILL."""
        self._remember()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=20)
        _, stubborn = psutil.wait_procs(self._seen, timeout=5)
        if self.process.poll() is None or stubborn:
            self._signal_group(signal.SIGTERM)
            _, stubborn = psutil.wait_procs(stubborn, timeout=5)
        self._signal_group(signal.SIGKILL)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        self.process.wait(timeout=10)
        return stubborn

    def _remember(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(psutil.Process(self.process.pid).children(recursive=True))

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)  # a session's first process leads the group of the same number


class Project:
    """A folder in which Dagster and the command line run as they do in this repository, with quick settings."""

    def __init__(self, folder: Path, seed_folder: Path, **more: object) -> None:
        self.folder = folder
        home = folder / "home"
        home.mkdir(parents=True)
        (home / "seed").symlink_to(seed_folder)
        shutil.copy(PROJECT / "dagster.yaml", folder)
        ordinary = folder / "ordinary.txt"
        comments = forum.write_comments(ORDINARY_COMMENTS, np.random.default_rng(1))
        ordinary.write_text("\n".join(comment.response for comment in comments), encoding="utf-8")
        self.settings = CrowdSettings(
            home=str(home),
            reference_texts=str(ordinary),
            target_neighbours=20,
            quorum_events=100,
            # A round of few samples gains nothing beyond noise, and a conserved epoch would pay nobody: there would be no points to see.
            **(({} if SCREENSHOTS_FOLDER else QUICK | {"conserved_points": False}) | {"epoch_rounds": 1} | more),  # type: ignore[arg-type]  # one posts its points
        )
        resources = build_resources(self.settings)
        self.warehouse: WarehouseResource = resources.warehouse
        self._inbox: InboxResource = resources.inbox
        self.book = RoundBook(self.warehouse)
        self.inbox = Path(str(self.settings.inbox_path))
        self.inbox.mkdir()
        self._workers: list[Worker] = []

    def environment(self, **settings: object) -> dict[str, str]:
        """The environment of its processes: its settings as ``CROWD_*``, with ``settings`` on top, nothing else of ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "DAGSTER_"))}
        wanted = self.settings.model_dump(exclude_defaults=True) | settings
        return inherited | {
            "DAGSTER_HOME": str(self.folder),
            "PYTHONPATH": str(PROJECT),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **{f"CROWD_{name.upper()}": str(value) for name, value in wanted.items()},
        }

    def start(self, name: str, *arguments: str, **settings: object) -> Worker:
        """Start ``python -m <arguments>`` here; its log is ``<name>.log``."""
        worker = Worker(
            [sys.executable, "-m", *arguments],
            self.folder,
            self.environment(**settings),
            self.folder / f"{name}.log",
        )
        self._workers.append(worker)
        return worker

    def start_rounds(self, name: str, rounds: int = 1) -> Worker:
        """Start rounds of the simulated crowd as ``make round`` does."""
        return self.start(name, "crowd_assets", "round", "--rounds", str(rounds))

    def start_job(self, name: str, job: str, tags: dict[str, str] | None = None, **settings: object) -> Worker:
        """Start one run of a job in a process of its own, whoever else runs it."""
        place = ["-m", "crowd_assets.definitions", "-a", "definitions"]
        return self.start(
            name, "dagster", "job", "execute", *place, "-j", job, "--tags", json.dumps(tags or {}), **settings
        )

    def stop(self) -> None:
        """End everything that was started here."""
        for worker in self._workers:
            worker.stop()

    def crowd_sends(self, round_no: int) -> None:
        """Put what the simulated crowd sends before a round into the inbox."""
        SimulatedCrowd(self.settings.target_attribute, self.settings.seed).write_feedback(
            round_no, UPath(self.inbox), []
        )

    def claim_first_round(self) -> dict[str, str]:
        """Take the crowd's files in and claim round 1 for them; the tags that a run of it needs."""
        self.crowd_sends(1)
        self._inbox.ingest()
        with self.instance() as instance:
            request, reason = next_run(instance, self.warehouse, self.settings, round_quorum(self.settings))
        assert request is not None, reason
        assert request.partition_key == FIRST_ROUND
        return {**request.tags, PARTITION_TAG: FIRST_ROUND}

    @contextlib.contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        """Its Dagster instance, opened from its folder: the paths in dagster.yaml begin where Dagster is started."""
        with contextlib.chdir(self.folder), DagsterInstance.from_config(str(self.folder)) as instance:
            yield instance

    def first_round(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row of round 1 by table, of its ledger too, and its own row without times, attempts and settings."""
        rows = {table: self.warehouse.read_round(table, 1).rows() for table in (*ROUND_TABLES, "ledger")}
        findings = self.warehouse.read_round("quality_findings", 1)
        rows["quality_findings"] = findings.filter(pl.col("expectation") != "freshness").rows()  # its figure is an age
        own = self.warehouse.query(
            "SELECT round_id, from_seq, to_seq, status, seed, base_model, next_model FROM rounds WHERE round_no = 1"
        )
        return rows | {"rounds": own.rows()}

    def models(self) -> set[str]:
        """Hashes of the stored models."""
        return {path.parent.name for path in Path(str(self.settings.models_path)).glob("*/card.json")}

    def files(self) -> dict[str, bytes]:
        """Frames and published tasks by name, byte for byte."""
        folders = [Path(str(self.settings.frames_path)), Path(str(self.settings.outbox_path))]
        return {
            str(path.relative_to(self.settings.home)): path.read_bytes()
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.suffix in (".parquet", ".jsonl")
        }


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path) -> Iterator[Callable[..., Project]]:
    """Makes projects, by name and settings; whatever still runs in them at the end is stopped."""
    made: list[Project] = []

    def make(name: str, **settings: object) -> Project:
        made.append(Project(tmp_path_factory.mktemp(name), seed_folder, **settings))
        return made[-1]

    yield make
    for project in made:
        project.stop()


@pytest.fixture
def project(make_project: Callable[..., Project], request: pytest.FixtureRequest) -> Iterator[Project]:
    """An empty project with seed models."""
    made = make_project("project")
    yield made
    made.stop()


@dataclass(frozen=True)
class SharedRound:
    """Round 1 of a project, run to its end by two processes at the same time."""

    project: Project
    tags: dict[str, str]
    in_process: Worker
    multiprocess: Worker


@pytest.fixture(scope="session")
def shared_round(make_project: Callable[..., Project]) -> SharedRound:
    """Two runs of one claimed round, started together: one keeps its steps to itself, one gives each its own process."""
    project = make_project("shared-round")
    tags = project.claim_first_round()
    both = SharedRound(
        project,
        tags,
        in_process=project.start_job("in-process", ROUND_JOB, tags),
        multiprocess=project.start_job("multiprocess", ROUND_JOB, tags, executor="multiprocess"),
    )
    both.in_process.finish(seconds=120)
    both.multiprocess.finish(seconds=240)
    return both


@dataclass(frozen=True)
class RunningDagster:
    """A webserver, a daemon and code locations, as ``make ui`` starts them."""

    project: Project
    worker: Worker
    url: str

    def ask(self, query: str, **variables: object) -> Any:
        """The data of one GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self, job: str) -> list[dict[str, Any]]:
        """The runs of a job, newest first: ``runId``, ``status`` and ``tags``."""
        found = self.ask(
            """query Runs($job: String!) { runsOrError(filter: {pipelineName: $job}) { __typename
               ... on Runs { results { runId status tags { key value } } } ... on PythonError { message } } }""",
            job=job,
        )["runsOrError"]
        assert found["__typename"] == "Runs", found
        return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found["results"]]

    def explain(self) -> str:
        """What a failure message needs: the runs and the end of the log."""
        runs = {job: [run["status"] for run in self.runs(job)] for job in (INGESTION_JOB, ROUND_JOB)}
        return f"{runs}\n{self.worker.tail()}"


@pytest.fixture(scope="session")
def dagster_dev(make_project: Callable[..., Project]) -> Iterator[RunningDagster]:
    """The UI and its daemon on an empty inbox; afterwards none of its processes is left."""
    project = make_project("dagster-dev")
    yield from serve_dagster(project)


def serve_dagster(project: Project) -> Iterator[RunningDagster]:
    """``crowd-rounds ui``, which starts what ``dagster dev`` starts with a webserver of its own."""
    port = free_port()
    worker = project.start("dagster-dev", "crowd_assets", "ui", "--port", str(port))
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        if worker.process.poll() is not None:
            pytest.fail(f"the UI ended\n{worker.tail()}")
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    try:
        wait_for("the UI", answers, seconds=60, explain=worker.tail)
        yield RunningDagster(project, worker, url)
    finally:
        stubborn = worker.stop()
    assert not stubborn, f"still there after SIGINT and SIGTERM: {stubborn}\n{worker.tail()}"


@pytest.fixture(scope="session")
def round_by_daemon(dagster_dev: RunningDagster) -> str:
    """The run id of round 1, which the sensors started once the crowd's files lay in the inbox."""
    started = time.monotonic()
    dagster_dev.project.crowd_sends(1)
    wait_for("a run of the round", lambda: dagster_dev.runs(ROUND_JOB) or None, seconds=90, explain=dagster_dev.explain)

    def ended() -> dict[str, Any] | None:
        (run,) = dagster_dev.runs(ROUND_JOB)
        return run if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    left = 180 - (time.monotonic() - started)
    run = wait_for("the end of the round", ended, seconds=left, explain=dagster_dev.explain)
    assert run["status"] == "SUCCESS", dagster_dev.explain()
    return str(run["runId"])


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One page of a browser of this machine; no download."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)} is on the PATH")
    expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        shown = browser.new_page(viewport=WINDOW, color_scheme="light")  # type: ignore[arg-type]
        shown.set_default_timeout(SECONDS_TO_SHOW * 1000)
        yield shown
        browser.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where this test's screenshots go."""
    folder = Path(SCREENSHOTS_FOLDER or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def watched(page: Page) -> Iterator[tuple[Page, list[str]]]:
    """A page of its own, and every address that it asks for or sends to."""
    asked: list[str] = []
    assert page.context.browser is not None
    shown = page.context.browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    yield shown, asked
    shown.close()
