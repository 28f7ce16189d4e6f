"""What rounds cost past one machine, by part: ``python -m benchmarks.scale workers``, ``ingestion``, ``claims``, ``rounds``
or ``large``.

*workers*: seconds of J candidates over the embedded base, trained in one pass of this process, and by Ray with 1, 2 and 3 tasks on
a cluster of three nodes with a CPU each, which is started on loopback for it (needs the extra ``cluster``).

* ``seconds_embedded``, ``seconds_of_1_worker``, …: from the call to stored candidates, after a task that lets each node's process
  import torch; medians of five.
* ``overhead_s``: seconds of one worker less those of this process: what a task adds to the same pass, its base loaded anew.
* ``empty_task_s``: of a task that does nothing, one after the other: Ray's own part of that.
* ``efficiency_of_2``, ``…_3``: seconds of one worker over those of so many times their number; 1 is perfect. Where nodes share the
  machine's cores it says more about them than about Ray: ``cpu_s_embedded`` stands beside it, the least that any way needs.

The other parts compare places: ``duckdb`` (tables and files of a local home), ``postgres`` (its tables on a PostgreSQL that is
started here, from the system's packages) and ``postgres_s3`` (its files on moto besides). Seconds ``wall`` are the machine's, ``cpu``
this process's, ``server_cpu`` PostgreSQL's; moto's and the collectors' are in none.

*ingestion*: mixed events in files of 500, which 1, 4 and 8 collectors append, each a process that does nothing else, while this
process takes them in. ``events_per_second`` counts from the first append to the last event in the tables, ``events_per_cpu_second``
by this process's and PostgreSQL's seconds together.

*claims*: claiming a round of 10,000 events where a million are in ``event_index``: ``median_ms`` and ``p95_ms`` of 50, each undone
by hand before the next; then ``settlement``, the posting of 100,000 entries.

*rounds*: a round of 5,000 events from its file to its report, with nothing but its own history and with a million events of
earlier rounds in the tables, by the crash harness's ``StubTrainer``; and the snapshot for readers alone.

*large*: one round of a million events by 100,000 contributors on PostgreSQL, by the same trainer: ``seconds`` of each step, and
``peak_mib`` of this process.

Belongs here: costs of what is distributed. Does not belong here: whether it comes out the same (see ``tests/cluster``).
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import polars as pl
import psutil
from dagster import DagsterInstance

from benchmarks import CPU, WALL, finish, options, say, seconds
from benchmarks.load import SETTINGS, Load, LoadCrowd
from benchmarks.train_candidates import config_of, seed_language_model
from crowd_assets.commands.campaign import PROJECT
from crowd_assets.forum import comments as forum
from resources.build import build_resources
from resources.models.local import LocalTrainer
from resources.models.store import ModelStoreResource
from resources.models.trainer import TrainerResource
from resources.ray_compute import require_ray
from resources.rounds.book import Quorum, RoundBook
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import Demonstrations
from resources.training.loading import use_threads
from resources.warehouse.base import WarehouseResource
from tests.cluster import postgres_server
from tests.cluster.s3 import BUCKET, s3_server

if TYPE_CHECKING:
    from resources.ray_compute.cluster import RayCluster

Figures = dict[str, Any]

WORKERS = (1, 2, 3)
REPEATS = 5
EMPTY_TASKS = 10
COLLECTORS = (1, 4, 8)
FILE_EVENTS = 500
CLAIMS = 50
FILLED_AT_ONCE = 100_000  # rows


def nothing(*, progress: Any) -> None:
    """A task that does nothing."""


def warm(*, progress: Any) -> None:
    """A task that imports what training does."""
    import peft  # noqa: F401
    import transformers  # noqa: F401


@contextmanager
def cluster_on_loopback(nodes: int) -> "Iterator[RayCluster]":
    """A cluster of nodes with a CPU each, whose worker processes have imported torch."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # its nodes listen on 127.0.0.1
    import ray
    from ray.cluster_utils import Cluster

    from resources.ray_compute.cluster import RayCluster

    started = Cluster()
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        yield RayCluster(address=started.address)
    finally:
        ray.shutdown()
        started.shutdown()


def seconds_by_workers(
    cluster: "RayCluster", base: str, groups: list[Demonstrations], batch_size: int, repeats: int
) -> dict[str, float]:
    """Seconds of the same candidates by this process, and by 1, 2 and 3 tasks at once: medians."""
    from resources.ray_compute.trainer import RayTrainer

    def train(trainer: type[TrainerResource], **fields: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            store = ModelStoreResource(root=str(Path(folder, "store")), cache=str(Path(folder, "cache")))
            made = trainer(store=store, base_model=base, fused=len(groups), **fields)
            return made.train_candidates(
                None,
                groups,
                config=config_of(batch_size),
                seed=1,
                valuation=None,
                cards=[{"role": "candidate"}] * len(groups),
                progress=lambda *_: None,
            )

    def median(clock: Callable[[], float], trainer: type[TrainerResource], **fields: Any) -> float:
        return float(np.median([seconds(clock, lambda: train(trainer, **fields))[0] for _ in range(repeats)]))

    use_threads(1)
    train(LocalTrainer)  # imports
    cpu, wall = median(CPU, LocalTrainer), median(WALL, LocalTrainer)
    figures = {"cpu_s_embedded": cpu, "seconds_embedded": wall}
    cluster.run("warm", warm, [()] * max(WORKERS))
    for workers in WORKERS:
        wall = median(WALL, RayTrainer, cluster=cluster.model_copy(update={"tasks": workers}))
        figures[f"seconds_of_{workers}_worker{'s' if workers > 1 else ''}"] = wall
        say(f"{len(groups)} candidates, {workers} workers: {wall:.1f} s")
    return figures


def workers(argv: list[str]) -> None:
    """The part of that name."""
    given = options(__doc__, argv, candidates=(12, "candidates"), rows=(192, "demonstrations of each"))
    require_ray("benchmarks.scale workers")
    count, rows = (3, 8) if given.quick else (given.candidates, given.rows)
    comments = forum.write_comments(rows * count, np.random.default_rng(given.seed))
    pairs = [(comment.prompt, comment.response) for comment in comments]
    groups = [Demonstrations(pairs[first : first + rows], ["somebody"] * rows) for first in range(0, len(pairs), rows)]
    with cluster_on_loopback(max(WORKERS)) as cluster:
        figures = seconds_by_workers(
            cluster, seed_language_model(), groups, batch_size=4, repeats=1 if given.quick else REPEATS
        )
        empty, _ = seconds(WALL, lambda: [cluster.run("nothing", nothing, [()]) for _ in range(EMPTY_TASKS)])
    figures["overhead_s"] = figures["seconds_of_1_worker"] - figures["seconds_embedded"]
    figures["empty_task_s"] = empty / EMPTY_TASKS
    for many in WORKERS[1:]:
        figures[f"efficiency_of_{many}"] = figures["seconds_of_1_worker"] / (
            many * figures[f"seconds_of_{many}_workers"]
        )
    finish(
        {name: round(value, 3) for name, value in figures.items()},
        {"candidates": count, "demonstrations_each": rows},
        "ray",
        "torch",
    )


class Places:
    """Empty homes by the name of a place, beside a PostgreSQL and an S3 server that run."""

    def __init__(self, server: postgres_server.PostgresServer) -> None:
        self._server = server
        self._postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))

    def settings(self, place: str, home: Path, **settings: Any) -> CrowdSettings:
        """Settings of an empty home."""
        if place != "duckdb":
            settings["warehouse"] = self._server.place()
        if place == "postgres_s3":
            settings["files"] = f"s3://{BUCKET}/{home.name}-{time.time_ns()}"
        return CrowdSettings(home=str(home), **settings)

    def server_cpu(self) -> float:
        """CPU seconds of PostgreSQL and of all its connections."""
        total = sum(self._postmaster.cpu_times()[:4])  # with those that have ended
        for each in self._postmaster.children():
            with suppress(psutil.NoSuchProcess):
                total += sum(each.cpu_times()[:2])
        return total


@contextmanager
def places() -> Iterator[Places]:
    """The places, while their servers run."""
    bin_ = postgres_server.binaries()
    if bin_ is None:
        sys.exit("benchmarks.scale starts a PostgreSQL, and there is none on this machine: apt-get install postgresql")
    with (
        postgres_server.running(bin_) as server,
        s3_server() as store,
        patch.dict(os.environ, store.environment | {"PGPASSWORD": postgres_server.PASSWORD}),
    ):
        yield Places(server)


@contextmanager
def measured(servers: Places) -> Iterator[Figures]:
    """Seconds of what is done inside, by clock."""
    clocks = {"wall": WALL, "cpu": CPU, "server_cpu": servers.server_cpu}
    found = {name: -clock() for name, clock in clocks.items()}
    yield found
    for name, clock in clocks.items():
        found[name] += clock()


@contextmanager
def collecting(settings: CrowdSettings, files: list[bytes], collectors: int) -> Iterator[Callable[[], None]]:
    """As many collectors, each in a process of its own, and what lets them begin, all at once."""
    inbox, of_all = str(settings.inbox_path), Path(settings.home, "collected")
    processes = []
    for number in range(collectors):
        folder = of_all / f"collector-{number}"
        folder.mkdir(parents=True)
        for count, data in enumerate(files[number::collectors]):
            (folder / f"{count:06d}").write_bytes(data)
        command = [sys.executable, "-m", "benchmarks.collector", inbox, str(folder)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        for process in processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a collector ended before it began")
        yield lambda: _close(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _close(processes: list[subprocess.Popen[str]]) -> None:
    """The line that collectors wait for is the end of their input."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()


def ingested(servers: Places, settings: CrowdSettings, files: list[bytes], collectors: int) -> Figures:
    """Seconds from the first append of as many collectors to the last event in the tables."""
    inbox = build_resources(settings).inbox
    inbox.not_ingested([])  # makes the tables
    done = 0
    with collecting(settings, files, collectors) as begin, measured(servers) as spent:
        begin()
        while done < len(files):
            done += len(inbox.ingest())
    return spent


def ingestion(argv: list[str]) -> None:
    """The part of that name."""
    given = options(__doc__, argv, events=(40_000, "events in all"))
    events = 2_000 if given.quick else given.events
    lines = [json.dumps(each) for each in LoadCrowd(1_000, events, 1, given.seed).feedback(1, [])]
    files = [
        "".join(f"{line}\n" for line in lines[first : first + FILE_EVENTS]).encode()
        for first in range(0, len(lines), FILE_EVENTS)
    ]
    figures = {}
    with places() as servers:
        for place in ("duckdb", "postgres", "postgres_s3"):
            for collectors in COLLECTORS:
                with tempfile.TemporaryDirectory(prefix="ingestion-") as home:
                    settings = servers.settings(place, Path(home))
                    spent = ingested(servers, settings, files, collectors)
                figures[f"{place}_{collectors}"] = {
                    "events_per_second": round(len(lines) / spent["wall"]),
                    "events_per_cpu_second": round(len(lines) / (spent["cpu"] + spent["server_cpu"])),
                }
                say(f"{place}, {collectors} collectors: {spent}")
    finish(figures, {"events": len(lines), "events_a_file": FILE_EVENTS}, "duckdb", "psycopg", "s3fs", "moto")


def fill(warehouse: WarehouseResource, first: int, last: int, rng: np.random.Generator) -> None:
    """Write events ``first`` to ``last`` into the index."""
    for start in range(first, last + 1, FILLED_AT_ONCE):
        rows = min(FILLED_AT_ONCE, last + 1 - start)
        ids = rng.bytes(16 * rows).hex()
        frame = pl.DataFrame(
            {
                "event_id": [ids[32 * row : 32 * row + 32] for row in range(rows)],
                "seq": range(start, start + rows),
                "kind": ["demonstration"] * rows,
                "contributor_id": [f"contributor-{number:06d}" for number in rng.integers(100_000, size=rows)],
                "ingested_at": [datetime(2026, 1, 1)] * rows,
            }
        )
        warehouse.atomically(lambda connection, frame=frame: warehouse.append(connection, "event_index", frame))  # type: ignore[misc]


def claims(argv: list[str]) -> None:
    """The part of that name."""
    given = options(
        __doc__,
        argv,
        events=(1_000_000, "events in the index"),
        pending=(10_000, "of them in no round yet"),
        entries=(100_000, "entries of a settlement"),
    )
    events, pending, count = (5_000, 500, 100) if given.quick else (given.events, given.pending, given.entries)
    quorum, figures = Quorum(1, 1, timedelta(days=1)), {}
    with places() as servers:
        for place in ("duckdb", "postgres"):
            with tempfile.TemporaryDirectory(prefix="claims-") as home:
                settings = servers.settings(place, Path(home))
                warehouse = build_resources(settings).warehouse
                fill(warehouse, 1, events, np.random.default_rng(given.seed))
                _claim_all_before(warehouse, events - pending)
                book, walls = RoundBook(warehouse), []
                with measured(servers) as spent:
                    for _ in range(CLAIMS):
                        wall, (claimed, reason) = seconds(WALL, lambda: book.claim(quorum, settings, datetime.now(UTC)))  # noqa: B023
                        if claimed is None or claimed.to_seq - claimed.from_seq + 1 != pending:
                            raise RuntimeError(f"{claimed} was claimed, {reason}")
                        walls.append(1000 * wall)
                        _execute(warehouse, "DELETE FROM rounds WHERE status = 'claimed'")
                _execute(warehouse, "UPDATE rounds SET status = 'claimed'")
                posted = entries("r000001", count)
                with measured(servers) as settlement:
                    book.settle(
                        book.get("r000001"), posted, base_model=None, next_model=None, now=datetime.now(UTC), about={}
                    )
            figures[place] = {
                "median_ms": float(np.median(walls)),
                "p95_ms": float(np.quantile(walls, 0.95)),
                "cpu_ms": 1000 * (spent["cpu"] + spent["server_cpu"]) / CLAIMS,
                "settlement": settlement,
            }
            say(f"{place}: {figures[place]}")
    context = {"events": events, "pending": pending, "claims": CLAIMS, "entries": count}
    finish(rounded(figures, 2), context, "duckdb", "psycopg")


def entries(round_id: str, count: int) -> pl.DataFrame:
    """As many entries of a posting: a credit from the treasury to each of the others."""
    names = ["treasury", *(f"contributor:{number:06d}" for number in range(1, count))]
    return pl.DataFrame(
        {
            "entry_id": [f"{round_id}:{name}" for name in names],
            "round_id": [round_id] * count,
            "account": names,
            "unit": ["credit"] * count,
            "amount": pl.Series([1 - count, *[1] * (count - 1)]).cast(pl.Decimal(18, 6)),
            "reason": ["award"] * count,
            "reference": [f"lot of {name}" for name in names],
        }
    )


def _claim_all_before(warehouse: WarehouseResource, to_seq: int) -> None:
    _execute(
        warehouse,
        "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
        f"VALUES (1, 'r000001', 1, {to_seq}, 'completed', 1, 0, '{{}}', TIMESTAMP '2026-01-01')",
    )


def _execute(warehouse: WarehouseResource, statement: str) -> None:
    warehouse.atomically(lambda connection: connection.execute(statement))


def rounds(argv: list[str]) -> None:
    """The part of that name."""
    given = options(
        __doc__,
        argv,
        events=(1_000_000, "events of earlier rounds"),
        round=(5_000, "events of a round"),
        contributors=(20_000, "contributors of all rounds"),
    )
    if given.quick:
        vars(given).update(events=5_000, round=600, contributors=300)
    seed_models = Path(seed_language_model()).parent
    figures: Figures = {}
    with places() as servers:
        for place in ("duckdb", "postgres"):
            with tempfile.TemporaryDirectory(prefix="rounds-") as folder:
                figures[place] = rounds_at(servers, place, Path(folder), seed_models, given)
    context = {name: vars(given)[name] for name in ("events", "round", "contributors")}
    finish(rounded(figures, 2), context | {"trainer": "StubTrainer"}, "dagster", "duckdb", "psycopg")


@contextmanager
def load_at(
    servers: Places, place: str, folder: Path, seed_models: Path, crowd: LoadCrowd, a_round: int
) -> Iterator[tuple[Load, WarehouseResource]]:
    """Rounds of about ``a_round`` events at a place, and the tables that they fill."""
    home = folder / "home"
    home.mkdir()
    (home / "seed").symlink_to(seed_models.resolve())
    shutil.copy(PROJECT / "dagster.yaml", folder)
    settings = servers.settings(place, home, quorum_events=a_round // 2, **SETTINGS)
    with chdir(folder), DagsterInstance.from_config(str(folder)) as instance:
        yield Load(folder, crowd, settings, instance), build_resources(settings).warehouse


def rounds_at(servers: Places, place: str, folder: Path, seed_models: Path, given: Any) -> Figures:
    """Seconds of a round in an index of few events and of many, and of a snapshot of the latter."""
    crowd = LoadCrowd(given.contributors, 3 * given.round, 3, given.seed)
    figures: Figures = {}
    with load_at(servers, place, folder, seed_models, crowd, given.round) as (load, warehouse):
        load.round(1)  # imports
        with measured(servers) as figures["round_of_few"]:
            load.round(2)
        last = int(warehouse.query("SELECT max(seq) AS last FROM event_index")["last"].item())
        fill(warehouse, last + 1, last + given.events, np.random.default_rng(given.seed))
        _execute(warehouse, f"UPDATE rounds SET to_seq = {last + given.events} WHERE round_no = 2")
        with measured(servers) as figures["round_of_many"]:
            load.round(3)
        with measured(servers) as figures["snapshot"]:
            warehouse.publish_snapshot()
    say(f"{place}: {figures}")
    return figures


def large(argv: list[str]) -> None:
    """The part of that name."""
    given = options(__doc__, argv, events=(1_000_000, "events of the round"), contributors=(100_000, "who sent them"))
    if given.quick:
        vars(given).update(events=600, contributors=100)
    seed_models = Path(seed_language_model()).parent
    crowd = LoadCrowd(given.contributors, given.events, 1, given.seed)
    with (
        places() as servers,
        tempfile.TemporaryDirectory(prefix="large-") as folder,
        load_at(servers, "postgres", Path(folder), seed_models, crowd, given.events) as (load, _),
    ):
        server_cpu = -servers.server_cpu()
        figures = load.round(1)
        server_cpu += servers.server_cpu()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"seconds": figures["seconds"], "wall": figures["wall"], "cpu": figures["cpu"], "server_cpu": server_cpu}
    context = {name: vars(given)[name] for name in ("events", "contributors")} | {"trainer": "StubTrainer"}
    finish(rounded(figures | {"peak_mib": peak}, 2), context, "dagster", "psycopg", "polars")


def rounded(figures: Figures, digits: int) -> Figures:
    """Figures to so many decimals, however deep they lie."""
    return {
        name: rounded(value, digits) if isinstance(value, dict) else round(value, digits)
        for name, value in figures.items()
    }


PARTS: dict[str, Callable[[list[str]], None]] = {
    "workers": workers,
    "ingestion": ingestion,
    "claims": claims,
    "rounds": rounds,
    "large": large,
}


def main(argv: list[str] | None = None) -> None:
    part, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if part not in PARTS:
        sys.exit(f"python -m benchmarks.scale PART [--quick], where PART is one of {', '.join(PARTS)}")
    PARTS[part](rest)


if __name__ == "__main__":
    main()
