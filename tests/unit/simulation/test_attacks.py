"""Attacks on pay: the games are what they say, cheating pays where nothing stops it, and each defence stops what it is for."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchmarks.attacks as benchmark
from benchmarks.attacks import gains
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from crowd_assets.mechanisms.payouts import PayRules
from crowd_assets.simulation.attacks import judges, sellers, writers
from crowd_assets.simulation.attacks import payoffs as attacks
from crowd_assets.simulation.attacks.judges import LabelRules
from crowd_assets.simulation.attacks.writers import DEFENDED, OURS, WRITERS_ATTACKS, Rules
from resources.settings.settings import Settings

SEEDS = 4
WEIGHTED = LabelRules(weighted=True)


def writers_gain(name: str, rules: Rules) -> float:
    return attacks.writers_payoffs(WRITERS_ATTACKS[name], rules, SEEDS, 0).gain[0]


def test_splitting_work_pays_by_contributor_and_not_by_demonstrations() -> None:
    assert gains("sybils_split_work", "plain", SEEDS, 0).gain[1] > 2
    assert writers_gain("sybils_split_work", OURS) > 2
    assert writers_gain("sybils_split_work", replace(OURS, pay=PayRules(by_work=True))) < 0.5


def test_a_copyist_is_paid_for_nothing_where_copies_are_seen() -> None:
    assert writers_gain("copycat", replace(DEFENDED, pay=replace(DEFENDED.pay, copy_discount=0.0))) > 0.3
    assert writers_gain("copycat", DEFENDED) == pytest.approx(-1.0)


def test_a_paraphrase_pays_where_nobody_reads_and_less_the_more_is_read() -> None:
    never, half, most = (writers_gain("copycat_paraphrase", replace(DEFENDED, read=share)) for share in (0.0, 0.5, 0.8))
    assert never > 0.3, "docs/attacks.md says that no detector sees this one"
    assert never > half > most
    assert half < 0.3
    assert most < 0


def test_splitting_work_gains_nothing_by_demonstrations_and_a_deposit_makes_it_a_loss() -> None:
    by_name = replace(DEFENDED, deposit=0.0, pay=replace(DEFENDED.pay, by_work=False))
    assert writers_gain("sybils_split_work", by_name) > 1
    without, with_one = (writers_gain("sybils_split_work", replace(DEFENDED, deposit=held)) for held in (0.0, 1.0))
    assert without < 0.1
    assert with_one < without


def test_what_is_kept_in_the_end() -> None:
    earned = np.array([2.0, -1.0, 3.0])
    assert attacks.kept(earned, 0.0) == 4.0
    assert attacks.kept(earned, 2.5) == 1.5
    assert attacks.kept(earned, 9.0) == 0.0
    assert attacks.kept(np.array([2.0, 2.0]), 0.0, 0.5) == pytest.approx(2.0)
    found_half_the_time = (
        0.5 * 0.0 + 0.25 * 2.0 + 0.5 * 0.5 * 0.0
    )  # never found: the second epoch; found first: a new deposit
    assert attacks.kept(np.array([2.0, 2.0]), 2.0, 0.5) == pytest.approx(found_half_the_time)


def test_a_hit_and_run_attacker_is_paid_nothing_before_a_name_has_taken_part_twice() -> None:
    attack = WRITERS_ATTACKS["late_joiner_hit_and_run"]
    cheating = attacks.writers_payoffs(attack, DEFENDED, SEEDS, 0).cheating
    assert not cheating.any()
    assert (
        attacks.writers_payoffs(
            attack, replace(DEFENDED, pay=replace(DEFENDED.pay, least_rounds=1)), SEEDS, 0
        ).cheating.sum()
        >= cheating.sum()
    )


def test_points_by_rank_and_ours_pay_careful_writers_more_than_adversaries() -> None:
    for rules in (writers.PLAIN, OURS, DEFENDED):
        paid = np.mean(
            [
                writers.play(
                    writers.honest_writers(np.random.default_rng([run, 0])), rules, np.random.default_rng(run)
                ).sum(axis=0)
                for run in range(SEEDS)
            ],
            axis=0,
        )
        assert paid[: writers.CAREFUL].mean() > paid[-writers.ADVERSARIES :].mean()


def test_alike_labelers_count_once_where_the_detector_links_them() -> None:
    assert gains("labeler_sybils", "as_shipped", 2, 0).gain[0] > 1
    once = replace(WEIGHTED, rings_once=True)
    assert abs(attacks.judges_payoffs("labeler_sybils", once, 2, 0).gain[0]) < 0.1
    disguised = attacks.judges_payoffs("labeler_sybils_disguised", once, 2, 0).gain[0]
    assert disguised > 1, "docs/attacks.md says that reports with some noise are not linked"
    staked = replace(once, stake=True)
    assert attacks.judges_payoffs("labeler_sybils_disguised", staked, 2, 0).gain[0] == pytest.approx(0.0)
    assert attacks.judges_payoffs("labeler_sybils_funded", staked, 2, 0).gain[0] > 1, (
        "it is bounded by its deposits alone"
    )


def test_lying_where_no_outcome_comes_costs_weight_only_with_audits() -> None:
    assert gains("labeler_milking_unseen", "as_shipped", 3, 0).gain[0] == 0
    audited = replace(WEIGHTED, audited=0.5)
    assert attacks.judges_payoffs("labeler_milking_unseen", audited, 3, 0).gain[2] < 0


def test_a_labeler_gains_nothing_for_its_seller_where_phi_verifies_quality() -> None:
    assert gains("labeler_owns_bidder", "plain", SEEDS, 0).gain[1] > 0
    assert gains("labeler_owns_bidder", "as_shipped", SEEDS, 0).gain[0] == 0
    assert gains("labeler_owns_bidder_say", "as_shipped", 2, 0).gain[1] > 0
    assert gains("labeler_owns_bidder_say", "hardened", 2, 0).gain[0] == 0


def test_as_shipped_neither_further_names_nor_invented_lots_nor_unsellable_bids_gain_and_plain_they_do() -> None:
    for name in sellers.LOT_ATTACKS | {"sybil_seller": None, "guessed_audit": None}:
        assert gains(name, "as_shipped", SEEDS, 0).gain[0] <= 1e-6
        assert gains(name, "hardened", SEEDS, 0).gain[0] <= 1e-6
    for name in ("invented_lots", "sybil_seller", "guessed_audit"):
        assert gains(name, "plain", SEEDS, 0).gain[1] > 1, "the control"


def test_who_asks_what_nobody_pays_takes_money_from_others_where_it_reserves_budget() -> None:
    scarce = Settings(auction="scoring_vcg", lots_from="any", budget="12")
    shipped = Settings(budget="12")
    others = np.arange(1, sellers.SELLERS)
    lost = {}
    for settings in (scarce, shipped):
        market = sellers.on_sale(sellers.sellers(np.random.default_rng(0)))
        honest, blocked = (
            sellers.credits(bids, settings, others, 0) for bids in (market, sellers.blocked_budget(market))
        )
        lost[settings.auction] = 1 - blocked / honest
    assert lost["scoring_vcg"] > 0.05
    assert lost["posted_rate"] == 0


def test_a_ring_gains_less_than_a_tenth_as_shipped() -> None:
    assert gains("bid_ring", "as_shipped", 3, 0).gain[0] < 0.1
    assert gains("bid_ring", "plain", 3, 0).gain[0] > 1


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=7),
    st.integers(1, 3),
    st.integers(0, 60),
)
def test_a_ring_gains_at_most_what_the_third_best_answer_leaves_for_each_that_it_would_have_sold(
    offered: list[tuple[int, int]], size: int, least: int
) -> None:
    quality, asked = np.array(offered, dtype=np.int64).T
    values, ring = np.maximum(quality - least, 0), np.arange(size)
    third = np.sort(values - asked)[-3]
    honest = sellers.earned(values, asked, asked, ring)
    sold = int(scoring_vcg(values, asked, 2, tie_break=np.arange(values.size)).awarded[:size].sum())
    assert 0 <= sellers.best_ring(values, asked, ring) - honest <= sold * max(int(third), 0)


def test_the_benchmark_prints_three_gains_with_intervals_for_each_attack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "WRITERS_ATTACKS", {})
    monkeypatch.setattr(judges, "JUDGES_ATTACKS", {"labeler_fresh_names": judges.JUDGES_ATTACKS["labeler_fresh_names"]})
    monkeypatch.setattr(benchmark, "SWEEPS", ())  # games of minutes
    benchmark.main(["--quick"])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found.keys() == {"plain", "as_shipped", "hardened", "by_surplus", "context"}
    for at_surplus in found["by_surplus"].values():
        assert at_surplus["gain"][0] <= at_surplus["bound"]
    for column in ("plain", "as_shipped", "hardened"):
        assert found[column].keys() == {"labeler_fresh_names", *sellers.MARKET_ATTACKS}
        for figure in found[column].values():
            assert figure.keys() == {"gain", "low", "high"}
            assert figure["low"] <= figure["gain"] <= figure["high"]
