"""Everything at once: a campaign of five rounds that really train, with its tables on PostgreSQL, its files on S3 and its models on a
Ray cluster of three nodes. One node is killed while it trains, S3 goes away while others do, PostgreSQL crashes in the middle of a
posting. It ends as the same campaign does that nobody disturbed, in one process, on its own disk.

Both train each candidate in a pass of its own (``fused_candidates``): only then are the matrix products the same, and so every
table, frame and model, to the last bit. Belongs here: what needs all servers. Does not belong here: what one of them shows.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from crowd_assets.monitoring.leaderboard import leaderboard
from crowd_assets.operations.audit import audit
from resources.settings.resource import CrowdSettings
from resources.warehouse.facts import COMPLETED
from tests.cluster.held_training import FOLDER
from tests.cluster.postgres_server import PASSWORD, PostgresServer
from tests.cluster.s3 import BUCKET, S3Server, s3_server
from tests.cluster.test_ray import NODES, power_off, started
from tests.e2e.conftest import Project, Worker, wait_for
from tests.e2e.crash import invariants

psycopg = pytest.importorskip("psycopg", reason="make cluster-test installs the extra cluster")
pytestmark = pytest.mark.cluster

ROUNDS = 5
AWAY_S = 60
A_ROUND_S = 300  # longest
SETTINGS = {
    "quorum_events": 60,
    "quorum_contributors": 4,
    "alignment_min_pairs": 4,
    "fused_candidates": 1,
    "batch_size": 4,
    "epochs": 4,
    "selection_confidence": 0.5,
    "epoch_rounds": 2,
    "selection_samples": 16,
    "report_samples": 16,
    "max_new_tokens": 16,
}
IN_TRAINING, AWAY, IN_POSTING = 2, 3, 4
"""The rounds in which a node is killed (see ``held_training``), the store goes away, and PostgreSQL crashes."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Undisturbed:
    """A campaign in one process: where it was, what it came to, its events and standings."""

    folder: Path
    contents: invariants.Contents
    sent: set[str]
    standings: str


class Running:
    """A campaign that runs in a process of its own, as it is seen from outside."""

    def __init__(self, worker: Worker, server: PostgresServer, url: str) -> None:
        self.worker = worker
        self._server, self._url = server, url

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """What others see in the tables."""
        return self._server.execute(statement, self._url)

    def wait(self, what: str, look: Callable[[], Found | None]) -> Found:
        """The first thing that ``look`` finds; a campaign that ends before fails at once."""

        def looked() -> Found | None:
            if self.worker.process.poll() is not None:
                pytest.fail(f"ended before {what}\n{self.worker.tail()}")
            return look()

        return wait_for(what, looked, seconds=A_ROUND_S, explain=self.worker.tail)

    def wait_for_round(self, number: int) -> None:
        def begun() -> bool:
            there = self.rows("SELECT to_regclass('rounds') IS NOT NULL") == [(True,)]
            return there and bool(self.rows(f"SELECT 1 FROM rounds WHERE round_no = {number}"))

        self.wait(f"round {number}", begun)


def start(project: Project, rounds: int) -> Worker:
    return project.start("campaign", "tests.cluster.held_training", "round", "--rounds", str(rounds))


def project_of(folder: Path, seed_folder: Path, **settings: object) -> Project:
    project = Project(folder, seed_folder)
    project.settings = project.settings.changed(**SETTINGS, **settings)
    return project


def run(project: Project, rounds: int) -> None:
    try:
        start(project, rounds).finish(seconds=A_ROUND_S * rounds)
    finally:
        project.stop()


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says how far a test of minutes is, past pytest's capture."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {time.strftime('%H:%M:%S')} {text}", end="", flush=True)

    return line


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path, say: Callable[[str], None]) -> Undisturbed:
    folder = tmp_path_factory.mktemp("everything") / "campaign"  # the same for both, as paths are part of cards
    project = project_of(folder, seed_folder)
    say(f"{ROUNDS} rounds in one process")
    run(project, ROUNDS)
    found = Undisturbed(
        folder,
        invariants.contents(project.settings),
        invariants.event_ids(project.settings),
        leaderboard(project.settings, "", 0).as_json(),
    )
    shutil.rmtree(folder)
    return found


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a task says that it stopped for its node to be killed."""
    return tmp_path_factory.mktemp("held")


@pytest.fixture(scope="module")
def nodes(store: S3Server, held: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(held))
        patch.setenv("TMPDIR", str(held))  # what tasks fetch from the store
        patch.setenv("OMP_NUM_THREADS", "1")
        with started(NODES) as found:
            (held / "head").write_text(str(raylet(found.head_node)))
            yield found


def raylet(node: Any) -> int:
    """The number of a node's own process, whose children are its tasks."""
    return int(node.all_processes["raylet"][0].process.pid)


def trains(nodes: Any) -> bool:
    """Whether a node has a task at candidates, which Ray says in its title."""
    for node in (nodes.head_node, *nodes.worker_nodes):
        with suppress(psutil.Error):
            if any("ray::candidates" in each.cmdline()[0] for each in psutil.Process(raylet(node)).children()):
                return True
    return False


def kill_a_node(running: Running, nodes: Any, held: Path) -> None:
    """Kill the node on which training has stopped for it, as a machine without power would end it."""
    stopped = held / "stopped"
    number = running.wait("a node in training", lambda: stopped.exists() and int(stopped.read_text() or 0))
    assert number in [raylet(node) for node in nodes.worker_nodes]
    assert running.rows(f"SELECT * FROM candidates WHERE round_no = {IN_TRAINING}") == []
    power_off(number)


def take_the_store_away(running: Running, nodes: Any, store: S3Server) -> None:
    """Refuse every connection once a task is at its candidates, for ``AWAY_S`` at least and until a node has said that it waits."""
    logs = Path(nodes.head_node.get_logs_dir_path())
    running.wait("a task at candidates", lambda: trains(nodes))
    store.pause()
    since = time.monotonic()

    def felt() -> bool:
        waits = any("the object store does not answer" in log.read_text() for log in logs.glob("worker-*.err"))
        return waits and time.monotonic() - since >= AWAY_S

    try:
        running.wait("a node that waits for the store", felt)
        assert running.rows(f"SELECT * FROM candidates WHERE round_no = {AWAY}") == []
    finally:
        store.resume()


def crash_in_the_posting(running: Running, postgres: PostgresServer, url: str) -> None:
    """Let the posting come to its last statement, which waits for a lock of ours, and crash the server there."""
    waiting = "SELECT 1 FROM pg_locks WHERE relation = 'round_records'::regclass AND NOT granted"
    ours = psycopg.connect(url, password=PASSWORD)
    ours.execute("LOCK TABLE round_records IN SHARE MODE")
    running.wait("the end of a posting", lambda: running.rows(waiting) or None)
    posting = "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE relation = 'ledger'::regclass AND mode = 'RowExclusiveLock'"
    assert len(running.rows(f"SELECT pid {posting}")) == 1  # its entries are written, and nobody sees them
    assert running.rows(f"SELECT * FROM ledger WHERE round_no = {IN_POSTING}") == []
    postgres.stop()
    postgres.start()
    ours.close()


def test_a_campaign_on_three_servers_ends_as_an_undisturbed_one_in_one_process(
    undisturbed: Undisturbed,
    postgres: PostgresServer,
    store: S3Server,
    nodes: Any,
    held: Path,
    seed_folder: Path,
    say: Callable[[str], None],
) -> None:
    url = postgres.place()
    project = project_of(
        undisturbed.folder,
        seed_folder,
        warehouse=url,
        files=f"s3://{BUCKET}/campaign",
        compute="ray",
        ray_address=nodes.address,
        store_retry_s=3 * AWAY_S,
    )
    try:
        running = Running(start(project, ROUNDS), postgres, url)
        say(f"{ROUNDS} rounds on PostgreSQL, S3 and {NODES} nodes")
        running.wait_for_round(IN_TRAINING)
        kill_a_node(running, nodes, held)
        say(f"round {IN_TRAINING}: a node was killed in training")
        running.wait_for_round(AWAY)
        take_the_store_away(running, nodes, store)
        say(f"round {AWAY}: S3 was away")
        running.wait_for_round(IN_POSTING)
        crash_in_the_posting(running, postgres, url)
        say(f"round {IN_POSTING}: PostgreSQL crashed in the posting")
        said = running.worker.finish(seconds=A_ROUND_S * ROUNDS)
    finally:
        project.stop()
    say("comparing")
    assert "Repeating it, 1 of" in said
    settings = project.settings
    assert [(round_.status, round_.attempt) for round_ in project_book(settings).all()] == [(COMPLETED, 1)] * ROUNDS
    assert invariants.broken(settings, undisturbed.sent) == []
    assert invariants.differences(undisturbed.contents, invariants.contents(settings)) == []
    assert leaderboard(settings, "", 0).as_json() == undisturbed.standings
    assert audit(settings).clean
    assert not {"frames", "models", "archive", "outbox", "warehouse.duckdb"} & set(os.listdir(settings.home))


def project_book(settings: CrowdSettings) -> Any:
    from resources.build import build_resources
    from resources.rounds.book import RoundBook

    return RoundBook(build_resources(settings).warehouse)


def test_the_comparison_sees_another_seed(undisturbed: Undisturbed, seed_folder: Path, tmp_path: Path) -> None:
    """One round of it in one process: no frame, no task and no model is the same."""
    project = project_of(tmp_path / "campaign", seed_folder, seed=1)
    run(project, 1)
    other = invariants.contents(project.settings)
    of_the_round = {name for name in undisturbed.contents if "r000001" in name}
    assert {name.split("/")[0] for name in of_the_round} == {"frames", "outbox"}
    assert {name for name in of_the_round if undisturbed.contents[name] == other.get(name)} == set()
    models = {name for name in other if name.startswith("model ")}
    assert models
    assert models.isdisjoint(undisturbed.contents)
