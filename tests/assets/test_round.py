"""A whole round on an ephemeral instance: what it writes, what it refuses, and that it does so again the same way."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dagster import (
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    RunsFilter,
)
from typer.testing import CliRunner
from upath import UPath

from crowd_assets.__main__ import app
from crowd_assets.definitions import build_definitions
from crowd_assets.experiments.reproduction import EXPERIMENTS
from crowd_assets.exporters.model import export_round
from crowd_assets.mechanisms.ledger import TREASURY, Entry, contributor_account
from crowd_assets.mechanisms.payouts import TERMS, noise_adjusted
from crowd_assets.monitoring.leaderboard import NoStandingError, leaderboard
from crowd_assets.monitoring.status import status
from crowd_assets.operations.audit import audit
from crowd_assets.operations.backup import backup, restore
from crowd_assets.operations.erasure import erase
from crowd_assets.operations.retention import compact
from crowd_assets.quality.gate import all_expectations
from crowd_assets.report.display import escaped
from crowd_assets.report.figures import round_figures
from crowd_assets.report.places import campaign_path, report_path
from crowd_assets.round.labelers import REGRETS, regret_so_far
from crowd_assets.round.points import estimates_of
from crowd_assets.round.settlement import point_entries
from crowd_assets.round.target import find_target
from crowd_assets.round.tournament import standings
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.common.hashes import file_hash
from resources.feedback.inbox import InboxResource
from resources.home.names import INGESTION_JOB, ROUND_JOB, ROUNDS_PARTITION
from resources.rounds.book import RoundBook, SkippedRoundError
from resources.rounds.records import append_record
from resources.rounds.releases import ReleaseBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import SettledRoundError, WarehouseResource
from resources.warehouse.schema import ROUND_TABLES
from sensors.rounds import next_run, nightly_quorum, round_quorum
from tests.conftest import OF_A_ROUND, QUICK, UNPARTITIONED

DEPOSIT = "0.5"
Tampering = Callable[[CrowdSettings, WarehouseResource], None]


class Platform:
    """The graph on an ephemeral instance in one home."""

    def __init__(self, settings: CrowdSettings) -> None:
        self.settings = settings
        self.instance = DagsterInstance.ephemeral()
        self.definitions: Definitions = build_definitions(settings)
        self.warehouse: WarehouseResource = build_resources(settings).warehouse
        self.book = RoundBook(self.warehouse)
        self.inbox = Path(str(settings.inbox_path))
        self.inbox.mkdir(exist_ok=True)

    def crowd_sends(self, round_no: int) -> None:
        tasks = self.settings.outbox_path / "comparison_tasks" / f"r{round_no - 1:06d}.jsonl"
        published = [json.loads(line) for line in tasks.read_text().splitlines()] if tasks.exists() else []
        SimulatedCrowd("gratitude", self.settings.seed).write_feedback(round_no, UPath(self.inbox), published)

    def run(self, job: str, round_id: str | None = None, **options: Any) -> ExecuteInProcessResult:
        config = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}} | options.pop("run_config", {})
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=config, instance=self.instance, partition_key=round_id, raise_on_error=False, **options
        )

    def ingest(self) -> None:
        assert self.run(INGESTION_JOB).success

    def start(self, *, nightly: bool = False) -> str:
        quorum = nightly_quorum(self.settings) if nightly else round_quorum(self.settings)
        request, reason = next_run(self.instance, self.warehouse, self.settings, quorum)
        assert request is not None, reason
        assert request.partition_key is not None
        return request.partition_key

    def round(self, round_no: int) -> ExecuteInProcessResult:
        self.crowd_sends(round_no)
        self.ingest()
        return self.run(ROUND_JOB, self.start())

    def contents(self, round_no: int | None = None) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table of a round, or of all, and of the ledger."""
        where = "round_no = $n" if round_no else "$n IS NULL"
        return {
            table: self.warehouse.query(f"SELECT * FROM {table} WHERE {where} ORDER BY ALL", {"n": round_no}).rows()
            for table in (*ROUND_TABLES, "ledger")
        }


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path) -> Platform:
    """Two rounds with the simulated crowd; tests that share it leave it as it is."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "seed").symlink_to(seed_folder)
    # So few texts are measured that every gain is within its noise, and a conserved epoch would post nothing.
    settings = CrowdSettings(home=str(folder), deposit=DEPOSIT, conserved_points=False, **QUICK)  # type: ignore[arg-type]
    platform = Platform(settings)
    for number in (1, 2):
        result = platform.round(number)
        assert result.success
    return platform


def test_every_stage_is_materialised(two_rounds: Platform) -> None:
    for name in OF_A_ROUND:
        assert two_rounds.instance.get_materialized_partitions(_key(name)) == {"r000001", "r000002"}, name


def test_rounds_complete_and_the_next_starts_from_the_last(two_rounds: Platform) -> None:
    first, second = two_rounds.book.all()
    assert (first.status, second.status) == ("completed", "completed")
    assert second.from_seq == first.to_seq + 1
    assert second.base_model == first.next_model
    selections = two_rounds.warehouse.read_round("selections", 2)
    assert selections.filter(pl.col("role") == "base")["model"].item() == first.next_model


def test_the_ledger_balances_and_pays_what_was_asked_within_the_budget(two_rounds: Platform) -> None:
    sums = two_rounds.warehouse.query("SELECT round_id, unit, sum(amount) AS total FROM ledger GROUP BY ALL")
    assert sums.height
    assert sums["total"].to_list() == [Decimal(0)] * sums.height
    awards = two_rounds.warehouse.query("SELECT * FROM awards")
    paid = awards.filter("awarded")
    assert paid.height
    assert paid.filter(pl.col("payment") < pl.col("asked_price")).is_empty()
    assert awards.filter(~pl.col("awarded") & (pl.col("payment") != 0)).is_empty()
    per_round = paid.group_by("round_no").agg(pl.col("payment").sum())["payment"]
    assert max(per_round) <= Decimal(two_rounds.settings.budget)
    assert set(paid.group_by("round_no", "lot_id").len()["len"]) <= set(
        range(2, two_rounds.settings.answers_per_lot + 1)
    )
    assert set(awards["lot_id"]) <= set(two_rounds.warehouse.query("SELECT lot_id FROM published_lots")["lot_id"])


def test_points_are_provisional_until_the_epoch_closes_and_then_sum_to_what_the_model_gained(
    two_rounds: Platform,
) -> None:
    assert two_rounds.settings.epoch_rounds == 2
    posted = two_rounds.warehouse.query(
        "SELECT round_no, sum(amount)::DOUBLE AS points FROM ledger WHERE unit = 'point' "
        "AND starts_with(account, 'contributor:') AND starts_with(reference, 'earned in') GROUP BY ALL ORDER BY ALL"
    )
    assert posted["round_no"].to_list() == [2]
    selections = two_rounds.warehouse.query("SELECT * FROM selections ORDER BY round_no")
    gains, errors = [], []
    for number in (1, 2):
        of_round = selections.filter(pl.col("round_no") == number)
        base = of_round.filter(pl.col("role") == "base").row(0, named=True)
        chosen = of_round.filter("selected").row(0, named=True)
        gains.append(base["fresh_distance"] - chosen["fresh_distance"])
        noise = np.hypot(base["fresh_standard_error"], chosen["fresh_standard_error"])
        errors.append(noise if chosen["role"] == "candidate" else 0.0)
    terms = two_rounds.warehouse.read_round("contributor_points", 2)
    withheld = terms.select(pl.sum_horizontal("copies", "epoch_rule", "forfeits").sum()).item()
    assert posted["points"].item() - withheld == pytest.approx(100 * sum(gains), abs=1e-3)
    assert terms["points"].sum() == pytest.approx(posted["points"].item(), abs=1e-3)
    assert terms.select((pl.sum_horizontal(list(TERMS)) - pl.col("points")).abs().max()).item() < 1e-9
    settings = two_rounds.settings.changed(conserved_points=True)
    resources = build_resources(settings)
    aim = find_target(settings, resources.embedder, resources.frames)
    conserved = estimates_of(
        two_rounds.book.get("r000002"), settings, two_rounds.warehouse, resources.frames, aim
    ).points
    withheld = conserved.select(pl.sum_horizontal("copies", "epoch_rule", "forfeits").sum()).item()
    gain = noise_adjusted(np.array(gains), np.array(errors))
    assert conserved["points"].sum() - withheld == pytest.approx(100 * gain, abs=1e-3)
    assert conserved["points"].min() >= 0
    assert conserved["harm"].sum() > 0
    first = two_rounds.warehouse.read_round("contributor_estimates", 1)
    assert first["provisional_points"].sum() == pytest.approx(
        two_rounds.warehouse.read_round("contributor_points", 1)["points"].sum()
    )
    epochs = two_rounds.warehouse.query("SELECT closes, reliability FROM epochs ORDER BY round_no")
    assert epochs["closes"].to_list() == [False, True]
    assert epochs["reliability"].is_between(0, 1).all()


def test_the_first_points_of_every_name_are_held_back(two_rounds: Platform) -> None:
    found = two_rounds.warehouse.query(
        "SELECT account[strpos(account, ':') + 1:] AS who, sum(amount) AS points, "
        "coalesce(sum(amount) FILTER (starts_with(account, 'deposit:')), 0) AS held FROM ledger "
        "WHERE unit = 'point' AND account <> 'treasury' GROUP BY ALL"
    )
    assert found["held"].max() == Decimal(DEPOSIT)
    for _, points, held in found.iter_rows():
        assert held == min(Decimal(DEPOSIT), max(points, Decimal(0)))
    page = report_path(two_rounds.settings, "r000002").read_text(encoding="utf-8")
    assert "held back: the first 0.5 of every name" in page


def test_points_go_to_those_who_took_part(two_rounds: Platform) -> None:
    for number in (1, 2):
        paid = two_rounds.warehouse.query(
            "SELECT account[13:] AS who FROM ledger WHERE unit = 'point' AND starts_with(account, 'contributor:') "
            "AND starts_with(reference, $earned)",
            {"earned": f"earned in r{number:06d}"},
        )
        groups = two_rounds.warehouse.read_round("contributor_groups", number)
        assert set(paid["who"]) <= set(groups["contributor_id"])
        assert paid.height == paid["who"].n_unique()


def test_points_by_rank_go_to_every_member_by_its_group(two_rounds: Platform) -> None:
    round_ = two_rounds.book.get("r000001")
    selection = two_rounds.warehouse.read_round("selections", 1).filter(pl.col("role") == "candidate")
    by_rank = two_rounds.settings.changed(points_scheme="rank")

    def posted(settings: CrowdSettings) -> list[Entry]:
        resources = build_resources(settings)
        aim = find_target(settings, resources.embedder, resources.frames)
        due = estimates_of(round_, settings, two_rounds.warehouse, resources.frames, aim).points
        return point_entries(round_, settings, two_rounds.warehouse, due)

    entries = posted(by_rank)
    if not selection["selected"].any():
        assert entries == []
        return
    groups = two_rounds.warehouse.read_round("contributor_groups", 1)
    ranks = dict(selection.select("group_index", "rank").iter_rows())
    expected = {
        contributor_account(contributor): Decimal(selection.height - ranks[group])
        for contributor, group in groups.select("contributor_id", "group_index").iter_rows()
    }
    assert {entry.account: entry.amount for entry in entries if entry.account != TREASURY} == expected
    assert sum(entry.amount for entry in entries) == 0
    caught = next(iter(groups["contributor_id"]))
    left = posted(by_rank.changed(forfeited=caught))
    assert {entry.account for entry in entries} - {entry.account for entry in left} == {contributor_account(caught)}


def test_shapley_values_are_the_mean_of_what_was_found_while_candidates_trained(two_rounds: Platform) -> None:
    found = two_rounds.warehouse.read_round("contributor_values", 2)
    settled = two_rounds.warehouse.read_round("contributions", 2)
    demonstrators = two_rounds.warehouse.read_round("contributor_groups", 2)["contributor_id"]
    assert set(settled["contributor_id"]) == set(demonstrators)
    assert found["seed_index"].n_unique() == two_rounds.settings.value_seeds
    means = (
        found.group_by("contributor_id").agg(mean=pl.col("loss_reduction").mean()).join(settled, on="contributor_id")
    )
    assert means["mean"].to_list() == pytest.approx(means["shapley_value"].to_list())
    assert (settled["standard_error"] > 0).all()


def test_tasks_are_published_and_come_back_as_preferences(two_rounds: Platform) -> None:
    published = (two_rounds.settings.outbox_path / "comparison_tasks" / "r000001.jsonl").read_text().splitlines()
    names = {json.loads(line)["comparison_id"] for line in published}
    assert names
    judged = pl.read_parquet(two_rounds.settings.path("frames", "aggregated_preferences", "r000002.parquet"))
    assert names <= set(judged["comparison_id"])


def test_who_misreports_loses_weight(two_rounds: Platform) -> None:
    crowd = SimulatedCrowd("gratitude", two_rounds.settings.seed).truth()
    weights = two_rounds.warehouse.read_round("labeler_weights", 2)
    mean = 1 / weights.height
    assert weights["weight"].sum() == pytest.approx(1)
    for labeler, weight in weights.select("labeler_id", "weight").iter_rows():
        if crowd[labeler]["kind"] in ("biased", "strategic"):
            assert weight < mean, labeler
        if crowd[labeler]["kind"] == "accurate":
            assert weight > mean, labeler


def test_the_report_is_one_page_without_references_to_others(two_rounds: Platform) -> None:
    page = report_path(two_rounds.settings, "r000002").read_text(encoding="utf-8")
    assert "Round 2" in page
    assert "Content-Security-Policy" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    campaign = campaign_path(two_rounds.settings).read_text(encoding="utf-8")
    assert 'href="rounds/r000001.html"' in campaign
    assert 'href="rounds/r000002.html"' in campaign


def test_a_round_is_exported_without_a_name_or_a_text_of_its_crowd(two_rounds: Platform, tmp_path: Path) -> None:
    resources = build_resources(two_rounds.settings)
    folder = export_round(two_rounds.settings, two_rounds.warehouse, resources.trainer, to=tmp_path / "out")
    chain = resources.model_store.lineage(two_rounds.book.get("r000002").next_model)
    adapters = [f"{place}-{model[:12]}" for place, model in enumerate(chain, start=1)]
    assert sorted(path.name for path in folder.glob("adapter/*")) == adapters
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "CROWD_EPOCH_ROUNDS | 2" in card
    events = two_rounds.settings.path("frames", "validated_feedback")
    valid = pl.concat([pl.read_parquet(events / f"{name}.parquet") for name in ("r000001", "r000002")])
    said = {text for name in ("contributor_id", "prompt", "response") for text in valid[name].drop_nulls() if text}
    assert said
    assert not [text for text in said if text in card]


def _shown(platform: Platform, round_id: str) -> dict[str, dict[str, Any]]:
    """What the last run of a round says of each asset and check in Dagster's event log, by name."""
    run = platform.instance.get_runs(RunsFilter(tags={"dagster/partition": round_id}), limit=1)[0]
    found: dict[str, dict[str, Any]] = {}
    for event in (entry.dagster_event for entry in platform.instance.all_logs(run.run_id) if entry.dagster_event):
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            found[materialization.asset_key.path[-1]] = dict(materialization.metadata)
        elif event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            found[check.check_name] = {"passed": check.passed, "severity": check.severity} | dict(check.metadata)
    return found


def test_every_materialization_shows_its_plots_and_figures(two_rounds: Platform) -> None:
    shown = _shown(two_rounds, "r000002")
    plots = {
        "validated_feedback": {"quality_so_far"},
        "labeler_weights": {"weights", "weights_over_rounds", "regret_so_far"},
        "selected_model": {"selection_distances"},
        "shapley_estimates": {"values"},
        "contributor_estimates": {"estimates"},
        "auction_clearing": {"supply_and_demand", "prices_by_lot"},
        "point_ledger": {"points_and_shapley"},
        "round_report": {"distances"},
    }
    for asset, names in plots.items():
        for name in names:
            uri = re.fullmatch(r"!\[plot\]\(data:image/png;base64,(.+)\)", shown[asset][name].value)
            assert uri, (asset, name)
            assert 1_000 < len(base64.b64decode(uri[1])) < 40_000, (asset, name)
    numbers = {
        "validated_feedback": {"rejected_share"},
        "labeler_weights": {"regret", "regret_bound"},
        "aligned_model": {"distance", "reduction"},
        "auction_clearing": {"cost_per_pair", "spent"},
        "point_ledger": {"correlation_with_shapley", "credits_paid"},
    }
    for asset, names in numbers.items():
        assert all(isinstance(shown[asset][name].value, float) for name in names), asset
    assert shown["selected_model"]["groups_and_ranks"].value.count("\n") == 1 + two_rounds.settings.groups
    spent = two_rounds.warehouse.read_round("awards", 2).filter("awarded")["payment"].sum()
    (run,) = two_rounds.instance.get_runs(RunsFilter(tags={"dagster/partition": "r000002"}), limit=1)
    assert Decimal(run.tags["crowd/credits_spent"]) == spent
    assert int(run.tags["crowd/seconds"]) > 0


def test_results_are_checked_and_block_nothing(two_rounds: Platform) -> None:
    shown = _shown(two_rounds, "r000002")
    selections, alignment = (two_rounds.warehouse.read_round(name, 2) for name in ("selections", "alignments"))
    base = selections.filter(pl.col("role") == "base")["fresh_distance"].item()
    kept = alignment["kept"].item()
    after = (alignment if kept else selections.filter("selected"))["fresh_distance"].item()
    assert shown["distance_fell"]["passed"] == (after < base)
    correlation = shown["point_ledger"]["correlation_with_shapley"].value
    assert shown["points_track_shapley"]["passed"] == (correlation >= 0.5)
    assert shown["regret_within_bound"]["passed"]
    for check in ("distance_fell", "points_track_shapley", "regret_within_bound"):
        assert shown[check]["severity"] == AssetCheckSeverity.WARN
    for check in ("ledger_balances", "within_budget"):
        assert shown[check]["passed"]
        assert shown[check]["severity"] == AssetCheckSeverity.ERROR


def test_regrets_add_up_over_rounds(two_rounds: Platform) -> None:
    """The sums that rounds hand on are what all outcomes give at once: aggregates by their own losses, less the reports'."""
    frames = [
        pl.read_parquet(two_rounds.settings.path("frames", REGRETS, f"r00000{number}.parquet")) for number in (1, 2)
    ]
    weights = two_rounds.warehouse.read_round("labeler_weights", 2)
    both = frames[1].join(weights, on="labeler_id")
    assert both.height == weights.height
    assert both["slots"].to_list() == both["slots_seen"].to_list()
    assert (frames[1]["slots"].sum(), frames[0]["slots"].sum() > 0) == (weights["slots_seen"].sum(), True)
    lost = both["excess_loss"] + both["cumulative_loss"]  # of the aggregate, over the same outcomes
    assert lost.is_between(0, both["slots"].cast(pl.Float64)).all()
    found = regret_so_far(two_rounds.warehouse, build_resources(two_rounds.settings).frames, 2)
    assert found["round_no"].to_list() == [1, 2]
    assert (found["regret"] <= found["bound"]).all()


def test_the_event_log_holds_no_text_of_a_contributor(two_rounds: Platform) -> None:
    """It cannot be erased. What models wrote is theirs, and reference texts are the operator's: both are left out here."""
    for name in ("r000001", "r000002"):
        texts = pl.read_parquet(two_rounds.settings.path("frames", "validated_feedback", f"{name}.parquet"))
        sent = two_rounds.warehouse.query("SELECT excerpt FROM rejected_feedback WHERE length(excerpt) > 12")
        said = {text for column in ("prompt", "response") for text in texts[column].drop_nulls() if len(text) > 12}
        said |= set(sent["excerpt"])
        shown = _shown(two_rounds, name)
        shown["selected_model"].pop("samples")
        shown["target"].pop("texts")
        logged = repr(shown)
        assert not [text for text in said if text in logged or escaped(text) in logged]


def test_status_and_leaderboard_say_what_was_settled(two_rounds: Platform, tmp_path: Path) -> None:
    found = status(two_rounds.settings, tmp_path).last_round
    assert found is not None
    assert (found.round_id, found.status) == ("r000002", "completed")
    figures = round_figures(two_rounds.book.get("r000002"), two_rounds.warehouse)
    assert (found.distance_base, found.distance_next_base) == (figures["distance_before"], figures["distance_after"])
    assert found.spent == pytest.approx(float(figures["spent"]))
    assert found.answers_bought == figures["answers_bought"]
    for number in (1, 2):
        board = leaderboard(two_rounds.settings, str(number))
        points = {place.contributor_id: place.points_posted + place.points_provisional for place in board.places}
        expected = dict(standings(two_rounds.warehouse, number).select("contributor_id", "points").iter_rows())
        assert {name: points[name] for name in expected} == pytest.approx(expected)
        assert [place.rank for place in board.places] == sorted(place.rank for place in board.places)
    credits = two_rounds.warehouse.query(
        "SELECT sum(amount)::DOUBLE AS c FROM ledger WHERE unit = 'credit' AND account <> 'treasury'"
    ).item()
    assert sum(place.credits for place in board.places) == pytest.approx(credits)
    assert {place.rounds for place in board.places} <= {1, 2}
    assert leaderboard(two_rounds.settings, top=3).places == board.places[:3]
    with pytest.raises(NoStandingError, match="r000001, r000002"):
        leaderboard(two_rounds.settings, "r000009")


def test_base_and_winner_answer_side_by_side(two_rounds: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", two_rounds.settings.home)
    asked = CliRunner().invoke(app, ["chat", "--round", "1"], input="What a day\x1b[2J\n/quit\nnever asked\n")
    assert asked.exit_code == 0, asked.output
    assert "r000001 base" in asked.stdout
    assert "What a day" in asked.stdout
    assert "\x1b" not in asked.stdout
    assert "never asked" not in asked.stdout
    again = CliRunner().invoke(app, ["chat", "--round", "1", "--prompt", "What a day", "--samples", "2"])
    assert again.stdout.count("\n") > asked.stdout.count("\n")


def test_every_expectation_has_its_check_and_its_row_in_the_warehouse(two_rounds: Platform) -> None:
    expected = {(suite, name) for suite, name, _, _ in all_expectations()}
    found = two_rounds.warehouse.read_round("quality_findings", 2)
    assert set(found.select("suite", "expectation").iter_rows()) == expected
    node = two_rounds.definitions.get_repository_def().asset_graph
    checks = {key.name for key in node.asset_check_keys if key.asset_key == _key("validated_feedback")}
    assert checks == {f"{suite}_{name}" for suite, name in expected} | {"feedback_gate", "feedback_warnings"}
    rows = dict(found.filter(pl.col("suite") == "demonstration").select("expectation", "failing").iter_rows())
    assert rows["few_copies"] > 0, "the simulated crowd has spammers"
    drift = found.filter(pl.col("suite") == "round")
    assert drift.filter(pl.col("expectation") == "phi_drift")["figure"].is_between(0, 1).all()


def test_every_asset_says_what_it_is(two_rounds: Platform) -> None:
    graph = two_rounds.definitions.get_repository_def().asset_graph
    experiments = {experiment.name for experiment in EXPERIMENTS} | {"reproduction"}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == OF_A_ROUND | UNPARTITIONED | experiments
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.group_name != "default", key
        assert node.owners, key
        assert node.kinds, key


def test_a_settled_round_is_reproduced_and_nothing_is_written_twice(two_rounds: Platform) -> None:
    before = two_rounds.contents()
    assert two_rounds.run(ROUND_JOB, "r000001").success
    assert two_rounds.run(ROUND_JOB, "r000002").success
    assert two_rounds.contents() == before


def test_a_settled_round_refuses_other_settings(two_rounds: Platform) -> None:
    before = two_rounds.contents()
    changed = {"resources": {"settings": {"config": two_rounds.settings.model_dump() | {"seed": 0, "groups": 4}}}}
    result = two_rounds.run(ROUND_JOB, "r000002", run_config=changed)
    assert not result.success
    failure = result.failure_data_for_node("contributor_groups")
    assert failure is not None
    assert failure.error is not None
    assert SettledRoundError.__name__ in failure.error.to_string()
    assert two_rounds.contents() == before


def test_the_same_inputs_give_the_same_round_in_another_home(
    two_rounds: Platform, tmp_path: Path, seed_folder: Path
) -> None:
    (tmp_path / "seed").symlink_to(seed_folder)
    other = Platform(two_rounds.settings.changed(home=str(tmp_path)))
    assert other.round(1).success
    found, expected = other.contents(1), two_rounds.contents(1)
    for contents in (found, expected):  # how old the feedback is depends on the day
        contents["quality_findings"] = [row for row in contents["quality_findings"] if row[2] != "freshness"]
    assert found == expected


def test_bad_lines_are_rejected_with_their_reason_and_the_round_is_green(settings: CrowdSettings) -> None:
    platform = Platform(settings)
    platform.crowd_sends(1)
    (platform.inbox / "bad.jsonl").write_bytes(b"{broken\n" + b"x" * 10_000_000 + b'\n{"kind": "opinion"}\n')
    (platform.inbox / "empty.jsonl").write_bytes(b"")
    (platform.inbox / "unfinished.jsonl.tmp").write_bytes(b'{"kind": "demonstr')
    twice = (platform.inbox / "round-1-judgements.jsonl").read_text().splitlines()[0]
    changed = json.dumps(json.loads(twice) | {"probability_a": 0.123})
    (platform.inbox / "second-answer.jsonl").write_text(changed)
    platform.ingest()
    assert platform.run(ROUND_JOB, platform.start()).success
    rejected = platform.warehouse.query("SELECT source, line, stage, reason FROM rejected_feedback ORDER BY ALL")
    reasons = {(source, line): reason for source, line, _, reason in rejected.iter_rows()}
    assert "broken JSON" in reasons["bad.jsonl", 1]
    assert "10000001 bytes" in reasons["bad.jsonl", 2]
    assert "unknown kind" in reasons["bad.jsonl", 3]
    assert reasons["empty.jsonl", 0] == "the file is empty"
    assert "judges a comparison once" in reasons["second-answer.jsonl", 1]
    assert (platform.inbox / "unfinished.jsonl.tmp").exists()


def test_what_was_rejected_and_released_is_valid_in_the_next_round_once(settings: CrowdSettings) -> None:
    platform = Platform(settings)
    inbox: InboxResource = build_resources(settings).inbox
    valid: list[set[str]] = []

    def gate_of(round_no: int, **extra: dict[str, object]) -> ExecuteInProcessResult:
        platform.crowd_sends(round_no)
        for name, record in extra.items():
            (platform.inbox / f"z-{name}.jsonl").write_text(json.dumps(record | {"event_id": name}))  # arrives last
        platform.ingest()
        round_id = platform.start()
        result = platform.run(ROUND_JOB, round_id, asset_selection=[_key("validated_feedback")])
        assert result.success
        frame = settings.path("frames", "validated_feedback", f"{round_id}.parquet")
        valid.append(set(pl.read_parquet(frame)["event_id"]))
        with platform.warehouse.transaction() as connection:
            connection.execute("UPDATE rounds SET status = 'completed' WHERE round_id = $id", {"id": round_id})
        return result

    platform.crowd_sends(1)
    judged = json.loads((platform.inbox / "round-1-judgements.jsonl").read_text().splitlines()[0])
    sent = json.loads((platform.inbox / "round-1-demonstrations.jsonl").read_text().splitlines()[0])
    copied = sent | {"contributor_id": "copyist", "prompt": "x", "submitted_at": "2026-01-02T00:00:00Z"}
    result = gate_of(1, twice=judged | {"probability_a": 0.123}, copied=copied)
    assert not valid[0] & {"twice", "copied"}
    reasons = dict(platform.warehouse.query("SELECT event_id, reason FROM rejected_feedback").iter_rows())
    assert reasons["twice"] == "not met: a labeler judges a comparison once"
    assert reasons["copied"].startswith("copies: word for word ")
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["demonstration_copies"].passed
    assert checks["demonstration_copies"].severity == AssetCheckSeverity.WARN, "the gate let the round pass"
    flagged = platform.warehouse.read_round("quality_contributors", 1).filter("flagged")
    accused = flagged.filter(pl.col("detector") == "collusion")["contributor_id"]
    assert not [name for name in accused if name.startswith("labeler")], "no ring is planted among the labelers"
    for event_id in ("twice", "copied"):
        ReleaseBook(inbox).release(event_id, by="Ada", why="a quotation", now=datetime.now(UTC))
    gate_of(2)
    gate_of(3)
    assert valid[1] >= {"twice", "copied"}
    assert not valid[2] & {"twice", "copied"}


def test_too_few_contributions_skip_the_round_and_wait_for_the_next(settings: CrowdSettings) -> None:
    platform = Platform(settings.changed(quorum_contributors=1))
    lines = [
        {
            "kind": "demonstration",
            "contributor_id": "somebody",
            "prompt": "p",
            "response": f"response {number}",
            "submitted_at": "2026-01-01T00:00:00Z",
        }
        for number in range(5)
    ]
    (platform.inbox / "few.jsonl").write_text("\n".join(map(json.dumps, lines)))
    platform.ingest()
    round_id = platform.start(nightly=True)
    result = platform.run(ROUND_JOB, round_id)
    assert result.success, result.failure_data_for_node("validated_feedback")
    assert platform.instance.get_materialized_partitions(_key("candidate_models")) == set()
    assert platform.book.get(round_id).status == "skipped"
    assert "5 valid demonstrations" in str(platform.book.get(round_id).reason)
    assert all(not rows for table, rows in platform.contents().items() if not table.startswith("quality_"))
    platform.crowd_sends(1)
    platform.ingest()
    second = platform.book.get(platform.start())
    assert (second.round_id, second.from_seq) == ("r000002", 1)
    failed = platform.run(ROUND_JOB, round_id)
    assert not failed.success
    failure = failed.failure_data_for_node("validated_feedback")
    assert failure is not None
    assert failure.error is not None
    assert SkippedRoundError.__name__ in failure.error.to_string()


def test_a_blocked_round_stays_blocked_in_a_run_without_the_gate(settings: CrowdSettings) -> None:
    platform = Platform(settings.changed(max_rejected_share=0.0))
    platform.crowd_sends(1)
    first = (platform.inbox / "round-1-judgements.jsonl").read_text().splitlines()[0]
    (platform.inbox / "second-answer.jsonl").write_text(json.dumps(json.loads(first) | {"probability_a": 0.123}))
    platform.ingest()
    round_id = platform.start()
    result = platform.run(ROUND_JOB, round_id)
    assert not result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["feedback_gate"].passed
    assert not checks["preference_answered_once"].passed
    assert checks["preference_answered_once"].severity == AssetCheckSeverity.ERROR
    assert platform.instance.get_materialized_partitions(_key("contributor_groups")) == set()
    later = platform.run(ROUND_JOB, round_id, asset_selection=[_key("contributor_groups")])
    assert not later.success
    failure = later.failure_data_for_node("contributor_groups")
    assert failure is not None
    assert failure.error is not None
    assert "did not pass the gate" in failure.error.to_string()


def test_a_partition_without_a_claim_says_so(settings: CrowdSettings) -> None:
    platform = Platform(settings)
    platform.instance.add_dynamic_partitions(ROUNDS_PARTITION, ["r000099"])
    failure = platform.run(ROUND_JOB, "r000099").failure_data_for_node("validated_feedback")
    assert failure is not None
    assert failure.error is not None
    assert "never claimed" in failure.error.to_string()


def _key(name: str) -> AssetKey:
    return AssetKey(name)


def test_a_contributor_is_erased_from_all_that_two_rounds_left(two_rounds: Platform, tmp_path: Path) -> None:
    home = Path(shutil.copytree(two_rounds.settings.home, tmp_path / "home", symlinks=True))
    settings = two_rounds.settings.changed(home=str(home))
    resources = build_resources(settings)
    warehouse, inbox = resources.warehouse, resources.inbox
    (seller,) = warehouse.query(
        "SELECT contributor_id FROM awards WHERE awarded AND round_no = 1 ORDER BY ALL LIMIT 1"
    )["contributor_id"]
    demonstrator = warehouse.read_round("contributor_groups", 1)["contributor_id"][0]
    before = Platform(settings).contents()
    events = inbox.events(1, 10_000)
    written = events.filter(pl.col("kind").is_in(["demonstration", "bid"]))
    for who in (seller, demonstrator):
        mine = set(written.filter(pl.col("contributor_id") == who)["response"])
        mine -= set(written.filter(pl.col("contributor_id") != who)["response"])
        texts = [text.encode() for text in mine if len(text) > 20]
        assert _holding(home, texts) >= {"archive", "frames"}
        found = erase(who, "a request", settings, resources)
        assert _holding(home, texts) == set()
        assert found.withdrawn if who == seller else found.trained_on
    assert Platform(settings).contents() == before
    assert inbox.events(1, 10_000).height < events.height
    again = Platform(settings)
    again.instance.add_dynamic_partitions(ROUNDS_PARTITION, ["r000002"])
    rerun = again.run(ROUND_JOB, "r000002")
    (failure,) = [event for event in rerun.all_events if event.is_step_failure]
    assert failure.step_key == "validated_feedback"
    assert again.contents() == before


def _sql(statement: str, **values: object) -> Tampering:
    def change(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
        with warehouse.transaction() as connection:
            connection.execute(statement, values)

    return change


def _first(table: str, column: str, change: str, where: str = "round_no = 1") -> Tampering:
    """One row of a table with another value."""
    return _sql(f"UPDATE {table} SET {column} = {change} WHERE rowid = (SELECT min(rowid) FROM {table} WHERE {where})")


def _swap_a_model(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    one, other = warehouse.read_round("candidates", 1)["model"][:2]
    shutil.copy(*(settings.path("models", model, "adapter_model.safetensors") for model in (one, other)))


def _change_a_report(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    path = settings.path("frames", "validated_feedback", "r000001.parquet")
    pl.read_parquet(path).with_columns(probability_a=1 - pl.col("probability_a")).write_parquet(path)


def _claim_it_was_erased(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    path = settings.path("frames", "validated_feedback", "r000001.parquet")
    before = file_hash(path.read_bytes())
    _change_a_report(settings, warehouse)
    after = file_hash(path.read_bytes())
    row = {"erasure_id": "e000001", "uri": str(path), "places": 1, "digest_before": before, "digest_after": after}
    with warehouse.transaction() as connection:
        warehouse.append(connection, "erased_files", pl.DataFrame([row]))


def _rewrite_a_text(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    path = settings.path("frames", "generations", "r000001.parquet")
    pl.read_parquet(path).with_columns(base=pl.lit("Thank you so much.")).write_parquet(path)


def _pay_more_and_write_the_chain_anew(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    """What somebody can do who may write everything: every hash is right again."""
    _first("awards", "payment", "payment + 1", "awarded AND round_no = 1")(settings, warehouse)
    records = warehouse.query("SELECT round_no, record FROM round_records ORDER BY round_no")
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM round_records")
        for number, record in records.iter_rows():
            append_record(connection, number, json.loads(record))


TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "points": (
        _first("contributor_estimates", "provisional_points", "provisional_points + 1"),
        r"r000001 .*contributor_estimates, \S+, provisional_points: stored \S+, recomputed",
    ),
    "award": (
        _first("awards", "payment", "payment + 0.000001", "awarded AND round_no = 1"),
        r"r000001 .*awards, \S+, payment: stored \S+, recomputed",
    ),
    "quality": (_first("awards", "quality", "quality + 0.01"), r"r000001 .*awards, \S+, (quality|payment)"),
    "amount": (
        _first("ledger", "amount", "amount + 1"),
        r"r000001 .*ledger, \w+, amount: stored \S+, recomputed",
    ),
    "a millionth of a point": (
        _first("ledger", "amount", "amount + 0.000001", "unit = 'point' AND round_no = 2"),
        r"r000002 .*ledger, r000002, amount: stored \w{32}, the record says \w{32}",
    ),
    "deleted entry": (
        _sql("DELETE FROM ledger WHERE rowid = (SELECT min(rowid) FROM ledger)"),
        r"r00000\d .*ledger, \w+, entry_id: stored no row, recomputed a row",
    ),
    "deposit": (
        _first("ledger", "amount", "amount - 0.1", "starts_with(account, 'deposit:')"),
        r"r000002 .*ledger, \w+, amount: stored \S+, recomputed",
    ),
    "entries of no round": (
        _sql(
            "INSERT INTO ledger SELECT 'forged' || entry_id, 9, 'r000009', account, unit, amount, reason, reference "
            "FROM ledger WHERE round_no = 1"
        ),
        r"ledger .*ledger, forged\S+, entry_id: stored a row, recomputed no row",
    ),
    "weight": (
        _first("labeler_weights", "weight", "weight * 1.1"),
        r"r000001 .*labeler_weights, \S+, weight: stored \S+, recomputed",
    ),
    "distance": (_first("selections", "distance", "distance * 1.0001"), r"r000001 .*selections, \S+, distance"),
    "value of training": (
        _first("contributor_values", "loss_reduction", "loss_reduction + 1"),
        r"r000001 .*contributor_values, r000001, loss_reduction: stored \w{32}, the record says",
    ),
    "asked next": (
        _first("comparison_tasks", "event_id_a", "event_id_b"),
        r"r000001 .*comparison_tasks, \S+, event_id_a",
    ),
    "setting": (
        _sql("UPDATE rounds SET settings = replace(settings, '\"groups\": 3', '\"groups\": 4') WHERE round_no = 1"),
        "r000001 .*rounds, r000001, settings: stored",
    ),
    "accuracy": (
        _first("alignments", "accuracy_after", "coalesce(accuracy_after, 0) + 1", "round_no = 2"),
        r"r000002 .*alignments, \S+, \w+: stored",
    ),
    "round": (
        _sql("DELETE FROM rounds WHERE round_no = 2"),
        "records .*rounds, round_no 2, status: stored not settled",
    ),
    "model": (_swap_a_model, "r000001 .*models, .*, files: stored .*restore it from a backup"),
    "frame": (_change_a_report, "r000001 .*frame validated_feedback, r000001, probability_a: stored"),
    "figures under cover of an erasure": (_claim_it_was_erased, "frame validated_feedback, r000001, probability_a"),
    "text": (_rewrite_a_text, "r000001 .*frame generations, r000001, base: stored"),
    "record": (
        _sql("UPDATE round_records SET record = replace(record, '\"groups\":3', '\"groups\":4') WHERE round_no = 1"),
        "r000001 .*round_records, r000001, hash: stored",
    ),
    "record and its hash": (
        _sql("UPDATE round_records SET hash = repeat('0', 64) WHERE round_no = 1"),
        "r000001 .*round_records, r000001, hash: stored 000000",
    ),
    "record gone": (_sql("DELETE FROM round_records WHERE round_no = 1"), "r000001 .*record: stored none"),
    "payment, with the chain written anew": (
        _pay_more_and_write_the_chain_anew,
        r"r000001 .*awards, \S+, payment: stored \S+, recomputed",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_an_audit_names_what_was_changed(two_rounds: Platform, tmp_path: Path, tampering: str) -> None:
    change, expected = TAMPERINGS[tampering]
    settings = _copied(two_rounds, tmp_path.parent)  # one place for all of them: Φ is loaded once
    change(settings, build_resources(settings).warehouse)
    code, said = _audit(settings)
    assert code == 1
    assert re.search(expected, said), said


def test_an_audit_of_what_nobody_changed_is_clean_whatever_the_settings_are_now(two_rounds: Platform) -> None:
    before = two_rounds.contents()
    code, said = _audit(two_rounds.settings.changed(groups=2, seed=9, points_scheme="rank"))
    assert (code, said.count("  ok")) == (0, 2), said
    head = said.split()[-1]
    assert two_rounds.contents() == before
    assert audit(two_rounds.settings, expected=head).clean
    anew = audit(two_rounds.settings, expected="0" * 64)
    assert "the record says 0000" in str(anew.chain)
    assert not anew.clean


def test_an_audit_tells_erased_texts_from_changed_ones(two_rounds: Platform, tmp_path: Path) -> None:
    settings = _copied(two_rounds, tmp_path)
    resources = build_resources(settings)
    warehouse = resources.warehouse
    seller = warehouse.query("SELECT min(contributor_id) AS who FROM awards WHERE awarded AND round_no = 1").item()
    demonstrator = warehouse.read_round("contributor_groups", 1)["contributor_id"][0]
    for who in (seller, demonstrator):
        erase(who, "a request", settings, resources)
    code, said = _audit(settings)
    assert code == 0, said
    assert "texts of frame validated_feedback (e00000" in said
    assert "qualities of" in said
    _rewrite_a_text(settings, warehouse)
    assert "frame generations, r000001, base: stored" in _audit(settings)[1]


def test_an_audit_is_clean_after_compaction_and_misses_no_model_that_was_chosen(
    two_rounds: Platform, tmp_path: Path
) -> None:
    settings = _copied(two_rounds, tmp_path).changed(keep_losing_models=1, keep_data_docs=1)
    resources = build_resources(settings)
    warehouse, store = resources.warehouse, resources.model_store
    before = Platform(settings).contents()
    done = compact(settings, resources, two_rounds.instance)
    assert done.models >= QUICK["groups"] - 1
    assert done.pages
    code, said = _audit(settings)
    assert (code, said.count("  ok")) == (0, 2), said
    candidates = warehouse.read_round("candidates", 1)["model"]
    gone = [model for model in candidates if not settings.path("models", model).exists()]
    assert len(gone) >= QUICK["groups"] - 1
    assert f"models that no round chose, removed: {len(gone)}" in said
    assert Platform(settings).contents() == before
    chosen = two_rounds.book.get("r000001").next_model
    assert chosen is not None
    store.remove(chosen)
    _sql("INSERT INTO removed_models VALUES ($model, 1, NULL)", model=chosen)(settings, warehouse)
    code, said = _audit(settings)
    assert code == 1
    assert f"models, {chosen}, files: stored" in said


def test_a_restored_home_is_clean_and_the_next_round_trains_from_it(two_rounds: Platform, tmp_path: Path) -> None:
    kept = backup(two_rounds.settings, two_rounds.warehouse, tmp_path / "kept").folder
    quick = {"epochs": 1, "value_seeds": 1, "value_order": 1}
    settings = two_rounds.settings.changed(home=str(tmp_path / "elsewhere"), **quick)
    resources = build_resources(settings)
    restore(settings, resources.warehouse, kept)
    restored = Platform(settings)
    assert restored.contents() == two_rounds.contents()
    assert _audit(settings)[0] == 0
    restored.crowd_sends(3)
    restored.ingest()
    stages = ("validated_feedback", "labeler_weights", "contributor_groups", "candidate_models", "auction_clearing")
    assert restored.run(ROUND_JOB, restored.start(), asset_selection=[_key(name) for name in stages]).success
    parents = {
        resources.model_store.card(model)["parent"] for model in restored.warehouse.read_round("candidates", 3)["model"]
    }
    assert parents == {two_rounds.book.get("r000002").next_model}
    assert set(restored.instance.get_dynamic_partitions(ROUNDS_PARTITION)) == {"r000001", "r000002", "r000003"}


def _copied(platform: Platform, folder: Path) -> CrowdSettings:
    """Settings of a copy of a platform's home."""
    home = folder / "audited"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(platform.settings.home, home, symlinks=True)
    return platform.settings.changed(home=str(home))


def _audit(settings: CrowdSettings) -> tuple[int, str]:
    """Exit code and output of the command."""
    done = CliRunner().invoke(
        app, ["audit"], env={f"CROWD_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    )
    return done.exit_code, done.output


def _holding(home: Path, texts: list[bytes]) -> set[str]:
    """Folders and files of a home with one of the texts, Parquet unpacked."""
    found = set()
    for path in (each for each in home.rglob("*") if each.is_file() and "seed" not in each.parts):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            strings = pl.read_parquet(path).select(pl.selectors.string())
            data += "\n".join(value for column in strings for value in column if value).encode()
        if any(text in data for text in texts):
            found.add(path.relative_to(home).parts[0])
    return found
