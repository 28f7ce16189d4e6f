"""Attacks of labelers: alike ones, ones that lie where no outcome comes, and ones with an interest."""

from dataclasses import replace

import pytest

from benchmarks.attacks import gains
from crowd_assets.simulation.attacks import payoffs as attacks
from crowd_assets.simulation.attacks.judges import LABEL_RULES, LabelRules
from tests.unit.simulation.attacks.seeds import SEEDS

WEIGHTED = LabelRules("log_odds")


def test_alike_labelers_count_once_where_the_detector_links_them() -> None:
    assert attacks.judges_payoffs("labeler_sybils", WEIGHTED, 2, 0).gain[0] > 1
    once = replace(WEIGHTED, rings_once=True)
    assert abs(attacks.judges_payoffs("labeler_sybils", once, 2, 0).gain[0]) < 0.1
    assert attacks.judges_payoffs("labeler_sybils_disguised", once, 2, 0).gain[0] > 1, "noise hides them from it"
    staked = replace(once, stake=True)
    assert attacks.judges_payoffs("labeler_sybils_disguised", staked, 2, 0).gain[0] == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["labeler_sybils_funded", "labeler_sybils_opposed"])
def test_names_that_share_a_judgement_gain_nothing_by_noise(name: str) -> None:
    without = replace(LABEL_RULES["as_shipped"], alike_once=False, rings_once=False)
    assert attacks.judges_payoffs(name, without, 2, 0).gain[1] > 1
    alone = replace(LABEL_RULES["as_shipped"], rings_once=False)  # whatever the detector sees
    assert attacks.judges_payoffs(name, alone, 2, 0).gain[0] < 0.2


def test_lying_where_no_outcome_comes_costs_weight_with_audits_or_where_errors_count() -> None:
    assert attacks.judges_payoffs("labeler_milking_unseen", WEIGHTED, 2, 0).gain[0] == 0
    for defended in (replace(WEIGHTED, audited=0.5), replace(WEIGHTED, alike_once=True)):
        assert attacks.judges_payoffs("labeler_milking_unseen", defended, 2, 0).gain[2] < 0


def test_a_labeler_gains_nothing_for_its_seller_where_phi_verifies_quality() -> None:
    assert gains("labeler_owns_bidder", "plain", SEEDS, 0).gain[1] > 0
    assert gains("labeler_owns_bidder", "as_shipped", SEEDS, 0).gain[0] == 0
    assert gains("labeler_owns_bidder_say", "plain", 2, 0).gain[1] > 0
    assert gains("labeler_owns_bidder_say", "as_shipped", 2, 0).gain[0] == 0
    assert gains("labeler_owns_bidder_apart", "as_shipped", 2, 0).gain[2] < 0.02


@pytest.mark.parametrize("name", ["labeler_selective", "labeler_cherry_picks"])
def test_answering_what_is_sure_or_easy_gains_less_where_errors_go_by_difficulty(name: str) -> None:
    shipped = replace(LABEL_RULES["as_shipped"], rings_once=False)
    plain = replace(shipped, by_difficulty=False)
    assert (
        attacks.judges_payoffs(name, shipped, 2, 0).gain[0] < attacks.judges_payoffs(name, plain, 2, 0).gain[0] - 0.05
    )


def test_staying_away_does_not_mend_a_bad_record() -> None:
    shipped = replace(LABEL_RULES["as_shipped"], rings_once=False)
    assert attacks.judges_payoffs("labeler_stays_away", shipped, 2, 0).gain[2] < 0


@pytest.mark.parametrize(
    "name", ["paid_judge_selective", "paid_judge_sure_only", "paid_judge_cherry_picks", "paid_judge_stays_away"]
)
def test_judges_are_paid_no_more_for_answering_less(name: str) -> None:
    assert attacks.judges_payoffs(name, LABEL_RULES["as_shipped"], SEEDS, 0).gain[0] < 0.01
    if "stays" not in name:
        assert attacks.judges_payoffs(name, LABEL_RULES["plain"], SEEDS, 0).gain[0] > 0.01, "pay by mean scores"
