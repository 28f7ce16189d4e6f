"""What hundreds of rounds with a large crowd cost: seconds and memory of a round, sizes of what is kept, sensors, the UI.

100,000 contributors send a million events (40 % demonstrations, 40 % preferences, 15 % bids, 5 % outcomes) over 200 rounds:
every contributor sends at least one, and a few send much. Each round's file goes into the inbox, the inbox sensor asks for its
ingestion, the round sensor claims the round, and the job runs in this process on a Dagster instance with SQLite storage, as
``make round`` runs it. Nothing is trained: the crash harness's ``StubTrainer`` takes the trainer's place, draws adapters and
texts, and is named in the figures; Φ is the embedded classifier, and few texts are measured in selection.

``growth`` compares the CPU seconds of the last tenth of the rounds with those of the second (the first fills what the memory
of nine rounds holds): 1 is no growth. Goals: every sensor within 5 s at the end, the UI's answers, too.

Belongs here: load and its figures. Does not belong here: whether a round is right (see the tests), speed of training (see
``round``).
"""

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from dagster import DagsterInstance, RunRequest, RunsFilter, SensorResult, SkipReason, build_sensor_context

from benchmarks import CPU, WALL, finish, options, say, seconds
from benchmarks.train_candidates import seed_language_model
from crowd_assets.commands.campaign import PROJECT
from crowd_assets.definitions import build_definitions
from crowd_assets.forum import comments as forum
from resources.build import build_resources
from resources.files.storage import write_text_atomically
from resources.home.names import INGESTION_JOB, ROUND_JOB, ROUND_TAG
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from tests.e2e.crash.stub import StubTrainer

Figures = dict[str, Any]

SHARES = {"demonstration": 0.4, "preference": 0.4, "bid": 0.15, "outcome": 0.05}
REPORTS = 8  # on a comparison
BIDS = 15  # for a lot
PROMPTS = 2_000
WORDS = (8, 15)  # of a response
TAIL = 0.8  # activity falls with a contributor's rank to this power
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = {"selection_samples": 16, "selection_batches": 1, "report_samples": 16}
QUICK = {"contributors": 600, "events": 2_400, "rounds": 4}
QUERIES = {
    "asset_graph": "{assetNodes {id groupName isPartitioned assetKey {path} dependencyKeys {path} "
    "partitionStats {numMaterialized numPartitions} assetMaterializations(limit: 1) {timestamp runId}}}",
    "runs": "{runsOrError(limit: 25) {... on Runs {results {runId status jobName startTime endTime tags {key value} "
    "stepStats {stepKey status}}}}}",
    "materializations": '{assetOrError(assetKey: {path: ["point_ledger"]}) {... on Asset {assetMaterializations(limit: 100) '
    "{timestamp partition runId metadataEntries {label ... on MarkdownMetadataEntry {mdStr} ... on FloatMetadataEntry "
    "{floatValue} ... on IntMetadataEntry {intValue}}}}}}",
}


class LoadCrowd:
    """Many contributors whose activity has a heavy tail; round ``n`` depends on the seed and ``n`` only."""

    def __init__(self, contributors: int, events: int, rounds: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        order = rng.permutation(contributors)
        self._newcomers = np.array_split(order, rounds)
        self._people = rng.permutation(contributors)
        self._reached = np.cumsum((np.arange(contributors) + 10.0) ** -TAIL)
        self._events, self._seed = events // rounds, seed
        comments = forum.write_comments(2_000, rng)
        self._words = np.array(sorted({word for comment in comments for word in comment.response.split()}))
        self._prompts = forum.prompts(rng, PROMPTS)

    def feedback(self, round_no: int, tasks: list[dict[str, str]]) -> list[dict[str, Any]]:
        """What is sent before a round, in order of arrival; ``tasks`` are what the round before published."""
        rng = np.random.default_rng([self._seed, round_no])
        counts = {kind: round(share * self._events) for kind, share in SHARES.items()}
        sent = self._senders(round_no, self._events - counts["outcome"], rng)
        events = [
            {"kind": "demonstration", "contributor_id": next(sent), "prompt": self._prompt(rng), "response": text}
            for text in self._texts(rng, counts["demonstration"])
        ]
        comparisons = [*tasks, *self._comparisons(round_no, rng, max(counts["preference"] // REPORTS - len(tasks), 1))]
        for number in range(counts["preference"]):
            shown = comparisons[number % len(comparisons)]
            report = round(float(rng.beta(2, 1)), 4)
            events.append({"kind": "preference", "contributor_id": next(sent), **shown, "probability_a": report})
        lots = max(counts["bid"] // BIDS, 1)
        asked = [self._prompt(rng) for _ in range(lots)]
        for number, text in enumerate(self._texts(rng, counts["bid"])):
            events.append(
                {
                    "kind": "bid",
                    "contributor_id": next(sent),
                    "lot_id": f"lot-{round_no}-{number % lots}",
                    "prompt": asked[number % lots],
                    "response": text,
                    "asked_price": f"{rng.uniform(0.05, 0.5):.4f}",
                    "claimed_quality": round(float(rng.random()), 4),
                }
            )
        for shown in comparisons[: counts["outcome"]]:
            truth = float(rng.random() < 0.7)
            events.append({"kind": "outcome", "comparison_id": shown["comparison_id"], "preferred_a": truth})
        start = FIRST_DAY + timedelta(days=round_no)
        return [
            event | {"submitted_at": (start + timedelta(seconds=number)).isoformat()}
            for number, event in enumerate(events)
        ]

    def _senders(self, round_no: int, count: int, rng: np.random.Generator) -> Iterator[str]:
        """Who has not sent anything before, and others by their activity."""
        newcomers = self._newcomers[round_no - 1][:count] if round_no <= len(self._newcomers) else self._people[:0]
        drawn = rng.random(count - len(newcomers)) * self._reached[-1]
        others = self._people[np.searchsorted(self._reached, drawn)]
        return (f"contributor-{number:06d}" for number in rng.permutation(np.concatenate([newcomers, others])))

    def _comparisons(self, round_no: int, rng: np.random.Generator, count: int) -> list[dict[str, str]]:
        texts = self._texts(rng, 2 * count)
        return [
            {
                "comparison_id": f"gold-{round_no}-{number}",
                "prompt": self._prompt(rng),
                "response_a": texts[2 * number],
                "response_b": texts[2 * number + 1],
            }
            for number in range(count)
        ]

    def _prompt(self, rng: np.random.Generator) -> str:
        return self._prompts[int(rng.integers(len(self._prompts)))]

    def _texts(self, rng: np.random.Generator, count: int) -> list[str]:
        """Words of the forum in no order: short, and hardly two alike."""
        lengths = rng.integers(*WORDS, size=count)
        words = iter(rng.integers(len(self._words), size=int(lengths.sum())))
        return [" ".join(self._words[next(words)] for _ in range(length)) for length in lengths]


class Load:
    """Rounds of the home in ``folder``, where the process must be, and what they cost."""

    def __init__(self, folder: Path, crowd: LoadCrowd, settings: CrowdSettings, instance: DagsterInstance) -> None:
        self._folder, self._crowd, self._settings, self._instance = folder, crowd, settings, instance
        resources = build_resources(settings)
        trainer = StubTrainer(**dict(resources.trainer))
        self._warehouse, self._inbox = resources.warehouse, resources.inbox
        self._given = {
            name: getattr(resources, name) for name in ("warehouse", "settings", "inbox", "outbox", "label_studio")
        }
        self._definitions = build_definitions(settings, resource_overrides={"trainer": trainer})
        self.trainer = type(trainer).__name__

    def round(self, round_no: int) -> Figures:
        """Run a round from its file to its report; seconds of each part."""
        self._drop(round_no)
        cpu, wall = CPU(), WALL()
        spent = {"inbox_sensor": self._tick("inbox_sensor", RunRequest)}
        spent["ingestion"] = self._run(INGESTION_JOB)["run"]
        spent["round_sensor"] = self._tick("round_sensor", SensorResult)
        spent |= self._run(ROUND_JOB, RoundBook(self._warehouse).open_round())
        return {"round": round_no, "cpu": CPU() - cpu, "wall": WALL() - wall, "seconds": spent}

    def sensors(self, next_round: int) -> dict[str, float]:
        """Seconds of one evaluation of each sensor, in each of the states in which it has something to do or nothing."""
        found = {"inbox_sensor, nothing": self._tick("inbox_sensor", SkipReason)}
        found["round_sensor, nothing"] = self._tick("round_sensor", SkipReason)
        self._drop(next_round)
        found["inbox_sensor, a file"] = self._tick("inbox_sensor", RunRequest)
        self._inbox.ingest()
        found["round_sensor, claims"] = self._tick("round_sensor", SensorResult)
        found["round_sensor, launches"] = self._tick("round_sensor", SensorResult)
        found["label_studio_sensor"] = self._tick("label_studio_sensor", SkipReason)
        found["failure_sensor"] = self._failures()
        return found

    def answers(self) -> dict[str, float]:
        """Seconds of the webserver's answer to each of ``QUERIES``, the slowest of three after a first."""
        with _webserver(self._folder, self._settings) as ask:
            found = {}
            for name, query in QUERIES.items():
                ask(query)
                found[name] = max(seconds(WALL, lambda query=query: ask(query))[0] for _ in range(3))
        return found

    def sizes(self) -> dict[str, float]:
        """MiB of what is kept, by part."""
        home, dagster = Path(self._settings.home), self._folder / ".crowd" / "dagster"
        parts = {name: [home / name] for name in ("frames", "models", "archive", "quality", "reports", "steps")}
        parts |= {"warehouse": [Path(self._warehouse.path)], "snapshot": [self._warehouse.snapshot_path]}
        parts["dagster_index"] = [*dagster.glob("history/*.db*"), *dagster.glob("history/runs/index.db*")]
        parts["dagster"] = [dagster]
        return {name: sum(map(_bytes, paths)) / 2**20 for name, paths in parts.items()}

    def rows(self) -> dict[str, int]:
        """Rows of each table of the warehouse."""
        tables = self._warehouse.query("SELECT table_name, estimated_size FROM duckdb_tables() ORDER BY ALL")
        return {name: rows for name, rows in tables.iter_rows() if rows}

    def contributors(self) -> int:
        """How many took part so far."""
        named = "SELECT count(DISTINCT contributor_id) AS n FROM event_index WHERE kind <> 'outcome'"
        return int(self._warehouse.query(named)["n"].item())

    def _drop(self, round_no: int) -> None:
        published = self._settings.outbox_path / "comparison_tasks" / f"r{round_no - 1:06d}.jsonl"
        tasks = [json.loads(line) for line in published.read_text().splitlines()] if published.exists() else []
        lines = map(json.dumps, self._crowd.feedback(round_no, tasks))
        write_text_atomically(self._settings.inbox_path / f"round-{round_no}.jsonl", "\n".join(lines) + "\n")

    def _tick(self, name: str, expected: type) -> float:
        sensor = self._definitions.resolve_sensor_def(name)
        wanted = {each: self._given[each] for each in sensor.required_resource_keys}
        with build_sensor_context(instance=self._instance, resources=wanted) as context:
            took, result = seconds(WALL, lambda: sensor(context))
        if not isinstance(result, expected):
            raise RuntimeError(f"{name} gave {result}, not a {expected.__name__}")
        return took

    def _failures(self) -> float:
        """What the daemon does between failures: look for runs that ended since the last that it has seen."""
        sensor = self._definitions.resolve_sensor_def("failure_sensor")
        repository = self._definitions.get_repository_def()
        cursor = None
        took = 0.0
        for _ in range(2):  # the first evaluation only begins at the newest event
            context = build_sensor_context(
                instance=self._instance,
                cursor=cursor,
                repository_def=repository,
                resources={"settings": self._settings},
            )
            took, result = seconds(WALL, lambda context=context: sensor.evaluate_tick(context))
            cursor = result.cursor
        return took

    def _run(self, job: str, round_: Round | None = None) -> dict[str, float]:
        """Run a job; seconds of its steps, by asset, and of the run."""
        result = self._definitions.resolve_job_def(job).execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            instance=self._instance,
            partition_key=round_.round_id if round_ else None,
            tags={ROUND_TAG: round_.round_id} if round_ else {},
        )
        found: dict[str, float] = {}
        for step in self._instance.get_run_step_stats(result.run_id):
            stage = step.step_key.split(".")[0].split("[")[0]
            found[stage] = found.get(stage, 0.0) + (step.end_time or 0.0) - (step.start_time or 0.0)
        (record,) = self._instance.get_run_records(RunsFilter(run_ids=[result.run_id]))
        return found | {"run": (record.end_time or 0.0) - (record.start_time or 0.0)}


@contextmanager
def _webserver(folder: Path, settings: CrowdSettings) -> Iterator[Callable[[str], Any]]:
    """A webserver of the home on a free port of 127.0.0.1, and what asks it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {f"CROWD_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_defaults=True).items()}
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
    with open(folder / "webserver.log", "wb") as log:
        server = subprocess.Popen(
            [*command, "-w", str(PROJECT / "workspace.yaml")],
            cwd=folder,
            env=os.environ | given | {"DAGSTER_HOME": str(folder), "PYTHONPATH": str(PROJECT)},
            stdout=log,
            stderr=log,
        )

    def ask(query: str) -> Any:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as response:
            answer = json.load(response)
        if "errors" in answer:
            raise RuntimeError(f"{query}: {answer['errors']}")
        return answer["data"]

    try:
        for _ in range(120):
            try:
                ask("{version}")
                break
            except OSError:
                if server.poll() is not None:
                    raise
                time.sleep(1)
        yield ask
    finally:
        of_server = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        server.terminate()
        server.wait(timeout=30)
        for process in psutil.wait_procs(of_server, timeout=30)[1]:
            process.kill()


def _bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


def run(folder: Path, seed_models: Path, chosen: argparse.Namespace) -> tuple[Figures, Figures]:
    """Figures and their context, of a home that is made in ``folder``."""
    rounds, a_round = chosen.rounds, chosen.events // chosen.rounds
    home = folder / "home"
    home.mkdir()
    (home / "seed").symlink_to(seed_models.resolve())
    shutil.copy(PROJECT / "dagster.yaml", folder)
    settings = CrowdSettings(home=str(home), quorum_events=a_round // 2, **SETTINGS)  # type: ignore[arg-type]
    crowd = LoadCrowd(chosen.contributors, rounds * a_round, rounds, chosen.seed)
    shown = sorted({1, max(rounds // 4, 1), max(rounds // 2, 1), rounds})
    found: list[Figures] = []
    kept: Figures = {}
    with chdir(folder), DagsterInstance.from_config(str(folder)) as instance:
        load = Load(folder, crowd, settings, instance)
        for number in range(1, rounds + 1):
            figures = load.round(number)
            figures["rss_mib"] = psutil.Process().memory_info().rss / 2**20
            found.append(figures)
            if number in shown:
                kept[str(number)] = _rounded(figures | {"mib": load.sizes()})
            say(f"round {number}: {figures['wall']:.1f} s, {figures['cpu']:.1f} s of CPU, {figures['rss_mib']:.0f} MiB")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        context = {"rounds": kept, "rows": load.rows(), "contributors": load.contributors(), "trainer": load.trainer}
        sensors = load.sensors(rounds + 1)
        say(f"sensors: {sensors}")
        answers = load.answers()
        say(f"answers of the UI: {answers}")
    tenth = max(rounds // 10, 1)
    early, late = found[tenth : 2 * tenth], found[-tenth:]
    mean = {name: [float(np.mean([each[name] for each in part])) for part in (early, late)] for name in ("cpu", "wall")}
    figures = {
        "seconds_a_round": mean["wall"][1],
        "cpu_seconds_a_round": mean["cpu"][1],
        "growth": mean["cpu"][1] / mean["cpu"][0],
        "peak_mib": peak,
        "mib": kept[str(rounds)]["mib"],
        "seconds_of_sensors": sensors,
        "seconds_of_answers": answers,
    }
    context |= {"cpu_seconds": sum(each["cpu"] for each in found), "wall_seconds": sum(each["wall"] for each in found)}
    context["events"] = rounds * a_round
    return _rounded(figures), _rounded(context)


def _rounded(figures: Figures) -> Figures:
    """Figures to three decimals, however deep they lie."""
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    return round(figures, 3) if isinstance(figures, float) else figures


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(
        __doc__,
        argv,
        contributors=(100_000, "contributors, each of whom sends something"),
        events=(1_000_000, "events in all"),
        rounds=(200, "rounds that they are spread over"),
    )
    if chosen.quick:
        vars(chosen).update(QUICK)
    seed_models = Path(seed_language_model()).parent
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        figures, context = run(Path(folder), seed_models, chosen)
    finish(figures, context, "dagster", "duckdb", "polars")


if __name__ == "__main__":
    main()
