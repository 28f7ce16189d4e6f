"""Rounds run in this process, one after the other, on the same instance, tables and claims as the daemon's.

Belongs here: feeding the inbox, running the jobs, printing what came of them. Does not belong here: what a round does.
"""

import json
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from dagster import DagsterInstance, Definitions, RunRequest

from crowd_assets.definitions import build_definitions
from crowd_assets.experiments.definitions import build_experiments
from crowd_assets.experiments.reproduction import run_config as reproduction_config
from crowd_assets.leases import lease_of, note_failure
from crowd_assets.monitoring.tracing import export_run
from crowd_assets.operations.preflight import feedback_files
from crowd_assets.report.figures import round_figures
from crowd_assets.report.places import campaign_path, report_path
from crowd_assets.report.quality import quality_page
from crowd_assets.round.lots import LOTS, next_round_no
from crowd_assets.round.tournament import NOT_YET_SURE, points_so_far
from crowd_assets.simulation.crowd import SimulatedCrowd
from crowd_assets.terminal.log import show
from crowd_assets.terminal.printing import console
from resources.build import build_resources
from resources.common.errors import OperatorError
from resources.common.progress import bars
from resources.feedback.inbox import ASSIGNMENTS, COMPARISON_TASKS
from resources.feedback.pseudonyms import HomePseudonyms
from resources.files.storage import write_bytes_atomically
from resources.home.identity import open_home
from resources.home.instance import prepare_instance
from resources.home.names import INGESTION_JOB, REPRODUCTION_JOB, ROUND_JOB, SEED_JOB
from resources.home.space import lacking_space
from resources.models.trainer import TrainerResource
from resources.rounds.book import Quorum, Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import PARTITION_TAG
from resources.warehouse.base import WarehouseResource
from resources.warehouse.damage import NoSpaceError
from resources.warehouse.facts import PEOPLES_LEDGER, is_open, round_id_of
from sensors.rounds import next_run, nightly_quorum, round_quorum

PROJECT = Path(__file__).resolve().parents[2]
TRUTH = "truth.json"
SECONDS_BETWEEN_LOOKS = 2.0
SHOWN = 5


class RoundFailedError(OperatorError, RuntimeError):
    """A round's run failed; the message says where to look."""


class Campaign:
    """Rounds of one home folder, run here and now."""

    def __init__(self, settings: CrowdSettings, instance: DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.definitions: Definitions = build_definitions(settings)
        resources = build_resources(settings)
        self.warehouse: WarehouseResource = resources.warehouse
        self.trainer: TrainerResource = resources.trainer
        self.book = RoundBook(self.warehouse)

    def build_seeds(self) -> None:
        """Build the seed models, where they are needed and not there yet."""
        self._run(SEED_JOB)

    def reproduce(self, quick: bool) -> None:
        """Run every experiment and gather their figures; what was computed before by the same code is read back."""
        self._run(REPRODUCTION_JOB, run_config=reproduction_config(quick), of=build_experiments(self.settings))
        console.print("figures  reports/reproduction.json")
        console.print("page     reports/reproduction.html")
        if not quick:
            console.print("document docs/reproduction.md")

    def simulate(self, rounds: int, crowd: SimulatedCrowd | None = None) -> None:
        """Run ``rounds`` rounds with a simulated crowd, by default the one of the settings, each fed with what the crowd sends and bought before.

        A round that was begun before is finished first, and is one of them.
        """
        crowd = crowd or SimulatedCrowd(self.settings.target_attribute, self.settings.seed)
        truth = Path(self.settings.home, TRUTH)
        truth.parent.mkdir(parents=True, exist_ok=True)
        truth.write_text(json.dumps(crowd.truth(), indent=1))
        for _ in range(rounds - self._finish_open_round()):
            begun = self.book.all()
            done = [round_ for round_ in begun if round_.settled]
            number = len(begun) + 1
            console.rule(f"round {number}", align="left")
            last = done[-1] if done else None
            tasks = self._published(COMPARISON_TASKS, last.round_id) if last else []
            assigned = (
                self._published(ASSIGNMENTS, last.round_id) if last and self.settings.assignments != "off" else None
            )
            pseudonyms = HomePseudonyms.of_home(self.warehouse)
            names = {pseudonyms.of(name): name for name in crowd.truth()}
            for line in assigned or ():
                line["contributor_id"] = names.get(line["contributor_id"])
            free = self.settings.assignments != "required" or not assigned
            crowd.write_feedback(
                number, self.settings.inbox_path, tasks, assigned, gold=free, lots=self._open_lots(number)
            )
            self._run(INGESTION_JOB)
            self._start(round_quorum(self.settings))
        self._summarise()

    def ingest(self) -> tuple[int, str, int]:
        """Take in what lies in the inbox.

        Returns:
            how many events there are now of all rounds, which round is next, and how many prompts are published for it.
        """
        self._run(INGESTION_JOB)
        events = int(self.warehouse.query("SELECT count(*) FROM event_index").item())
        number = next_round_no(self.warehouse)
        lots = self.warehouse.query("SELECT count(*) FROM published_lots WHERE round_no = $n", {"n": number}).item()
        return events, round_id_of(number), int(lots)

    def take_in(self, source: str) -> None:
        """Run one round on the feedback files of a folder or URI; the files themselves stay where they are.

        Raises:
            SettingError: the folder has no feedback file.
        """
        for path in feedback_files(source):
            write_bytes_atomically(self.settings.inbox_path / path.name, path.read_bytes())
        self._finish_open_round()
        self._run(INGESTION_JOB)
        self._start(nightly_quorum(self.settings))
        self._summarise()

    def _start(self, quorum: Quorum) -> None:
        """Run the round that is due, and print it; where none is due, say why; where another process is at it, wait.

        Raises:
            NoSpaceError: too little of a disk is free.
        """
        waits_for = ""
        while True:
            request, reason = next_run(self.instance, self.warehouse, self.settings, quorum, patient=False)
            if request is not None:
                self._run_round(request)
                return
            if lacking := lacking_space(self.settings):
                raise NoSpaceError(f"nothing was started: {lacking}.")
            open_round = self.book.open_round()
            if open_round is None:
                console.print(f"no round starts: {reason}")
                return
            if not waits_for:
                console.print(f"{open_round.round_id} is running in another process: waiting for that process")
                waits_for = open_round.round_id
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if not is_open(self.book.get(waits_for).status):
                return

    def _finish_open_round(self) -> int:
        """Finish a round that was begun before, here or by the daemon; returns how many there were, 0 or 1."""
        open_round = self.book.open_round()
        if open_round is not None:
            console.print(f"{open_round.round_id} is {open_round.status}: finishing that round first")
            if not open_round.attempt:  # claimed by hand, and launched from here after all
                self.book.next_attempt(open_round.round_no)
            self._start(round_quorum(self.settings))
        return int(open_round is not None)

    def _run_round(self, request: RunRequest) -> None:
        assert request.partition_key is not None
        self._run(ROUND_JOB, request.partition_key, dict(request.tags))
        round_ = self.book.get(request.partition_key)
        if round_.settled:
            self._show_round(round_)
        else:
            console.print(f"{round_.round_id} was {round_.status}: {round_.reason}")

    def _run(
        self,
        job: str,
        partition_key: str | None = None,
        tags: dict[str, str] | None = None,
        run_config: Mapping[str, Any] | None = None,
        of: Definitions | None = None,
    ) -> None:
        started, run_id = time.monotonic(), str(uuid.uuid4())
        subject = (tags or {}) | ({PARTITION_TAG: partition_key} if partition_key else {})
        with lease_of(run_id, job, subject, self.warehouse, self.settings) as ending, bars(console):
            result = (
                (of or self.definitions)
                .resolve_job_def(job)
                .execute_in_process(
                    run_config={"loggers": {"console": {}}, **(run_config or {})},
                    instance=self.instance,
                    partition_key=partition_key,
                    run_id=run_id,
                    tags=tags or {},
                    raise_on_error=False,
                )
            )
            for event in result.all_events:
                note_failure(ending, event)
        if self.settings.traces:
            export_run(self.instance, result.run_id)
        if not result.success:
            failures = [event.step_key or "" for event in result.all_events if event.is_step_failure]
            raise RoundFailedError(
                f"{job} {partition_key or ''} failed in {', '.join(failures) or 'the run'}: the reason stands above and "
                f"in the Dagster UI (make ui), run {result.run_id}. Run the same command again to try once more."
            )
        console.print(f"{job} took {time.monotonic() - started:.0f} s\n")

    def _open_lots(self, number: int) -> list[tuple[str, str]] | None:
        """What may be bid for in a round: None for the lots of the embedded forum, or any."""
        source = self.settings.lots_source
        if source in ("forum", "any"):
            return None
        if source == "listed":
            return [(lot, "") for lot in sorted(self.settings.known_lots())]
        if number == 1:
            self.ingest()  # which publishes the first lots
        return [(line["lot_id"], line["prompt"]) for line in self._published(LOTS, round_id_of(number))]

    def _published(self, topic: str, round_id: str) -> list[dict[str, Any]]:
        """What a round published in the outbox under a topic, or what was published for it."""
        path = self.settings.outbox_path / topic / f"{round_id}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def _kinds(self) -> pl.DataFrame:
        truth = Path(self.settings.home, TRUTH)
        people = json.loads(truth.read_text()) if truth.exists() else {}
        pseudonyms = HomePseudonyms.of_home(self.warehouse)
        return pl.DataFrame(
            {
                "contributor_id": [pseudonyms.of(name) for name in people],
                "true_kind": [person["kind"] for person in people.values()],
            },
            schema={"contributor_id": pl.String, "true_kind": pl.String},
        )

    def _show_round(self, round_: Round) -> None:
        figures = round_figures(round_, self.warehouse)
        candidates = figures["candidates"].select(
            pl.format("group {}", "group_index").alias("model"),
            "distance",
            "standard_error",
            pl.when("selected").then(pl.lit("winner")).otherwise(pl.lit("")).alias("result"),
        )
        base = pl.DataFrame(
            {
                "model": ["base"],
                "distance": [figures["base_selection_distance"]],
                "standard_error": [None],
                "result": [""],
            },
            schema=candidates.schema,
        )
        show(f"{round_.round_id}: target distance on the selection sample", pl.concat([base, candidates]))
        kept = "kept" if figures["alignment"]["kept"] else f"left out: {figures['alignment']['reason']}"
        console.print(
            f"target distance on a fresh sample: base {figures['distance_before']:.3f}, winner "
            f"({figures['winner']}) {figures['distance_selected']:.3f}, next base {figures['distance_after']:.3f}"
            f"  ({figures['distance_after'] / figures['distance_before'] - 1:+.0%}; alignment {kept})\n"
        )
        self._show_people(round_)
        spent = self.warehouse.query(
            "SELECT lot_id AS lot, count(*) FILTER (WHERE awarded) AS answers, "
            "coalesce(sum(payment) FILTER (WHERE awarded), 0)::float8 AS credits "
            "FROM awards WHERE round_no = $n GROUP BY lot_id ORDER BY lot_id",
            {"n": round_.round_no},
        )
        if spent.height:
            total = f"{float(figures['spent']):.3f} of {self.settings.budget}"
            show(f"money spent per lot: {total} credits, {figures['answers_bought']} answers", spent.head(20))

    def _show_people(self, round_: Round) -> None:
        points = points_so_far(self.warehouse, round_.round_no).with_columns(NOT_YET_SURE)
        kinds = self._kinds()
        if kinds.height:
            points = points.join(kinds, on="contributor_id", how="left", maintain_order="left")
        epoch = self.warehouse.read_round("epochs", round_.round_no).row(0, named=True)
        posted = "posted" if epoch["closes"] else f"provisional since round {epoch['first_round_no']}"
        said = f"points so far ({posted}; reliability of the candidates' distances {epoch['reliability']:.2f})"
        show(f"{said}, top", points.head(SHOWN))
        show(f"{said}, bottom", points.tail(SHOWN))
        weights = self.warehouse.query(
            "SELECT labeler_id AS contributor_id, weight, slots_seen AS outcomes, "
            "cumulative_loss / nullif(slots_seen, 0) AS mean_loss FROM labeler_weights WHERE round_no = $n "
            "ORDER BY weight DESC NULLS LAST, labeler_id",
            {"n": round_.round_no},
        )
        if weights.height:
            mean = f"mean {1 / weights.height:.4f}"
            if kinds.height:
                weights = weights.join(kinds, on="contributor_id", how="left", maintain_order="left")
            show(f"labeler weights of {weights.height}, highest ({mean})", weights.head(20))
        self._show_judgement_pay(round_, kinds)

    def _show_judgement_pay(self, round_: Round, kinds: pl.DataFrame) -> None:
        """What judgements earned in a round: by kind where kinds are known, else by labeler."""
        pay = self.warehouse.query(
            "SELECT labeler_id AS contributor_id, basis, scored, score, paid::float8 AS credits FROM judgement_pay "
            "WHERE round_no = $n ORDER BY paid DESC, score DESC, labeler_id",
            {"n": round_.round_no},
        )
        if pay.is_empty():
            return
        said = f"credits for judgements, by {pay['basis'][0]}: {pay['credits'].sum():.3f} of {self.settings.judging_budget}"
        if kinds.height:
            pay = (
                pay.join(kinds, on="contributor_id", how="left")
                .group_by("true_kind")
                .agg(
                    labelers=pl.len(),
                    scored=pl.col("scored").sum(),
                    mean_score=pl.col("score").sum() / pl.col("scored").sum(),
                    credits=pl.col("credits").sum(),
                )
                .sort("credits", "mean_score", descending=True)
            )
        show(said, pay.head(20))

    def _summarise(self) -> None:
        settled = [(round_, round_figures(round_, self.warehouse)) for round_ in self.book.settled()]
        if not settled:
            return
        overview = pl.DataFrame(
            {
                "round": [round_.round_id for round_, _ in settled],
                "base": [figures["distance_before"] for _, figures in settled],
                "next_base": [figures["distance_after"] for _, figures in settled],
                "credits": [float(figures["spent"]) for _, figures in settled],
            }
        )
        console.rule("all rounds", align="left")
        show("target distance on fresh samples, and credits spent", overview)
        kinds = self._kinds()
        credits_of = self.warehouse.query(
            f"SELECT contributor_id, sum(amount)::float8 AS credits FROM {PEOPLES_LEDGER} posted WHERE unit = 'credit' GROUP BY 1"
        )
        by_kind = (
            kinds.join(points_so_far(self.warehouse, settled[-1][0].round_no), on="contributor_id", how="left")
            .join(credits_of, on="contributor_id", how="left")
            .group_by("true_kind")
            .agg(
                contributors=pl.len(),
                mean_points=pl.col("points").mean(),
                mean_credits=pl.col("credits").fill_null(0.0).mean(),
            )
            .sort("mean_points", "mean_credits", descending=True, nulls_last=True)
        )
        if by_kind.height:
            show("what each kind earned: mean points and credits by true kind", by_kind)
        earned = self.warehouse.query(
            "SELECT CASE WHEN reason LIKE 'judgements%' THEN 'judgements' WHEN reason = 'answer bought' THEN 'answers' "
            "ELSE 'demonstrations' END AS work, count(DISTINCT account) AS contributors, "
            "sum(CASE WHEN unit = 'point' THEN amount ELSE 0 END)::float8 AS points, "
            "sum(CASE WHEN unit = 'credit' THEN amount ELSE 0 END)::float8 AS credits "
            f"FROM {PEOPLES_LEDGER} posted WHERE NOT held_back GROUP BY 1 ORDER BY 1"
        )
        if earned.height:
            show("what each kind of work earned", earned)
        last = settled[-1][0]
        reduction = 1 - overview["next_base"][-1] / overview["base"][0]
        console.print(f"target distance over all rounds: {-reduction:+.0%}")
        console.print(f"report          {report_path(self.settings, last.round_id)}")
        console.print(f"campaign        {campaign_path(self.settings)}")
        console.print(f"quality report  {quality_page(self.settings)}")
        console.print("Dagster UI      make ui, then open http://127.0.0.1:3000")


@contextmanager
def campaign(settings: CrowdSettings) -> Iterator[Campaign]:
    """A campaign on the Dagster instance of the home, the one that ``make ui`` shows; DAGSTER_HOME names another one.

    SIGTERM ends what runs as an interruption from the keyboard does, so that it costs no attempt.

    Raises:
        HomeError: the home is not what it should be.
    """
    open_home(settings, build_resources(settings).warehouse)
    prepare_instance(settings)
    with DagsterInstance.get() as instance, _stopped_by_sigterm():
        yield Campaign(settings, instance)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
