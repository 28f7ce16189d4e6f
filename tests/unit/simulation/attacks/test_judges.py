"""Attacks of labelers: alike ones, ones that lie where no outcome comes, and ones with an interest."""

from dataclasses import replace

import pytest

from benchmarks.attacks import gains
from crowd_assets.simulation.attacks import payoffs as attacks
from crowd_assets.simulation.attacks.judges import LabelRules
from tests.unit.simulation.attacks.seeds import SEEDS

WEIGHTED = LabelRules(weighted=True)


def test_alike_labelers_count_once_where_the_detector_links_them() -> None:
    several = replace(WEIGHTED, rings_once=False)
    assert attacks.judges_payoffs("labeler_sybils", several, 2, 0).gain[0] > 1
    assert abs(gains("labeler_sybils", "as_shipped", 2, 0).gain[0]) < 0.1
    once = replace(WEIGHTED, rings_once=True)
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
