"""Points and Shapley values of two rounds: what is posted, when, to whom, and what of it is held back."""

from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from crowd_assets.mechanisms.ledger import TREASURY, Entry, contributor_account
from crowd_assets.mechanisms.payouts import TERMS, noise_adjusted
from crowd_assets.report.places import report_path
from crowd_assets.round.points import estimates_of
from crowd_assets.round.settlement import point_entries
from crowd_assets.round.target import find_target
from resources.build import build_resources
from resources.settings.resource import CrowdSettings
from tests.assets.platform import DEPOSIT, Platform


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
    assert f"The first {DEPOSIT} points of every name are the name" in page


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
