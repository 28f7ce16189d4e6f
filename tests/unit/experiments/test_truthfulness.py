"""Misreports: the search finds what pays, and labelers and sellers gain by lying where no claim is made and nowhere else."""

import numpy as np
import pytest

from crowd_assets.experiments import truthfulness
from crowd_assets.mechanisms.labelers import limited_feedback
from crowd_assets.simulation.misreports import MOTIVES, best_misreport, labeler_gains
from crowd_assets.simulation.misreports_of_sellers import SELLERS, seller_gains


def test_the_search_finds_a_peak_and_none_above_the_truth() -> None:
    truth, rng = np.array([0.3, 0.9]), np.random.default_rng(0)
    gained, truthful = best_misreport(lambda tried: 1.0 - np.square(tried - [0.1, 0.52]).sum(axis=1), truth, rng)
    assert truthful == pytest.approx(1 - 0.04 - 0.1444)
    assert gained == pytest.approx(0.1844, abs=1e-4)
    assert best_misreport(lambda tried: -np.square(tried - truth).sum(axis=1), truth, rng)[0] == 0.0


@pytest.mark.parametrize(
    ("rule", "motive"),
    [
        (rule, motive)
        for rule, motives in MOTIVES.items()
        for motive in motives
        if f"{rule}.{motive}" not in truthfulness.NEARLY and (rule, motive) != ("elf_x", "forward_looking")
    ],
)
def test_labelers_gain_by_lying_where_no_claim_is_made_and_nowhere_else(rule: str, motive: str) -> None:
    most = max(labeler_gains(rule, motive, 1 if rule == "dawid_skene" else 4, 11, 0))
    assert (most <= 1e-9) == (f"{rule}.{motive}" in truthfulness.CLAIMED)


def test_a_pull_that_its_own_reports_can_move_would_make_paired_feedback_pay_for_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: the step of the next slot taken from this slot's gains as well."""
    from crowd_assets.simulation import misreports

    def hasty(state: limited_feedback.PairedState, asked: object, compared: object, *losses: object) -> object:
        after = limited_feedback.update_paired(state, asked, compared, *losses)  # type: ignore[arg-type]
        late = limited_feedback.paired_feedback_step(after.squares) / after.step
        pulled = late * after.weights + (1 - late) / state.weights.shape[-1]
        return limited_feedback.PairedState(pulled, after.squares, after.step * late)

    monkeypatch.setattr(misreports, "update_paired", hasty)
    assert max(labeler_gains("limited_feedback", "myopic", 10, 11, 0)) > 1e-6


@pytest.mark.parametrize("mechanism", SELLERS)
def test_sellers_gain_by_lying_where_no_claim_is_made_and_nowhere_else(mechanism: str) -> None:
    most = max(seller_gains(mechanism, 1 if mechanism == "as_shipped" else 20, 11, 0))
    assert (most == 0) == (mechanism in truthfulness.CLAIMED)


def test_the_search_against_the_market_as_shipped_finds_what_pays_where_a_rule_pays_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: as a round would clear if it paid what is asked."""
    from crowd_assets.simulation import misreports_of_sellers

    monkeypatch.setattr(misreports_of_sellers, "SHIPPED", misreports_of_sellers.Settings(auction="pay_as_bid"))
    assert max(seller_gains("as_shipped", 4, 11, 0)) > 1e-3


def test_a_claim_that_is_broken_is_reported_as_broken() -> None:
    largest = dict.fromkeys([*truthfulness.CLAIMED, *truthfulness.NEARLY], 0.0)
    fine = truthfulness._summary({**largest, "pay_as_bid": 0.5})
    assert "Broken" not in fine
    assert "Not caught" not in fine
    broken = truthfulness._summary({**largest, "scoring_vcg": 0.2, "pay_as_bid": 0.0})
    assert "Broken: scoring_vcg (0.2)" in broken
    assert "Not caught: pay_as_bid" in broken
