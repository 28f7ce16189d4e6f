"""Every aggregate that a round may use: one protocol, the same whether a stream comes at once or in two rounds."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.base import (
    AGREEMENT,
    BASELINE,
    OUTCOMES,
    Aggregate,
    Known,
    Pooled,
    nobody_known,
    with_newcomers,
)
from crowd_assets.mechanisms.labelers.by_log_odds import LogOdds
from crowd_assets.mechanisms.labelers.plain import Mean
from crowd_assets.mechanisms.labelers.table import AGGREGATES, WITHOUT_OUTCOMES
from resources.common.members import family
from resources.settings.settings import Settings

Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
LABELERS = 6
DRAWING = {"weighted_score_update_sampled", "fpl_elf", "elf_x", "limited_feedback"}


def stream(slots: int = 400, seed: int = 0) -> Rows:
    """Labeler 0 is right, three are so-so, one flips coins, one inverts; a fifth of the reports are missing."""
    rng = np.random.default_rng(seed)
    answer = rng.integers(0, 2, slots)
    accuracy = np.array([0.97, 0.75, 0.75, 0.75, 0.5, 0.05])
    slot, labeler = np.nonzero(rng.random((slots, LABELERS)) < 0.8)
    right = rng.random(slot.size) < accuracy[labeler]
    report = np.where(right, answer[slot], 1 - answer[slot]) * 0.9 + 0.05
    return slot.astype(np.int64), labeler.astype(np.int64), report, answer.astype(float)


def run(name: str, known: Known, rows: Rows, seed: int = 0) -> Pooled:
    return AGGREGATES[name].run(known, *rows, entry=0.5, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_stream_is_pooled_within_bounds_and_states_stay_sound(name: str) -> None:
    slot, labeler, report, answer = stream(3_000)
    outcomes = np.where(np.arange(answer.size) % 3 == 0, np.nan, answer)
    found = run(name, nobody_known(LABELERS), (slot, labeler, report, outcomes))
    heard = np.bincount(slot, minlength=answer.size) > 0
    assert (np.isnan(found.aggregates) == ~heard).all()
    assert ((found.aggregates[heard] >= 0) & (found.aggregates[heard] <= 1)).all()
    assert found.known.weights.sum() == pytest.approx(1.0)
    assert (found.known.weights > 0).all()
    assert found.known.slots == (heard & ~np.isnan(outcomes)).sum()
    counted = ~np.isnan(outcomes[slot])
    assert (found.known.slots_seen == np.bincount(labeler[counted], minlength=LABELERS)).all()
    assert all(np.isfinite(figure).all() for figure in found.known.figures.values())
    if AGGREGATES[name].first != BASELINE or name == "dawid_skene":
        known = found.known
        assert known.weights[0] > known.weights[5], "who is right weighs more than who is wrong"
        assert known.weights.argmax() == 0 or name in ("fpl_elf", "elf_x"), "whose lotteries need N / gap² slots"


@pytest.mark.parametrize("name", [name for name in AGGREGATES if AGGREGATES[name].learns_from == OUTCOMES])
def test_two_rounds_are_one_stream(name: str) -> None:
    slot, labeler, report, answer = stream(200)
    half = slot < 100
    at_once = run(name, nobody_known(LABELERS), (slot, labeler, report, answer))
    first = run(name, nobody_known(LABELERS), (slot[half], labeler[half], report[half], answer[:100]))
    second = run(name, first.known, (slot[~half] - 100, labeler[~half], report[~half], answer[100:]), seed=1)
    assert second.known.slots == at_once.known.slots
    np.testing.assert_allclose(second.known.cumulative_loss, at_once.known.cumulative_loss)
    if name not in DRAWING:
        np.testing.assert_allclose(second.known.weights, at_once.known.weights)
        np.testing.assert_allclose(np.append(first.aggregates, second.aggregates), at_once.aggregates)


def test_what_is_not_drawn_needs_no_luck() -> None:
    rows = stream(50)
    for name in set(AGGREGATES) - DRAWING:
        once, again = (run(name, nobody_known(LABELERS), rows, seed=seed).aggregates for seed in (1, 2))
        np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("name", AGGREGATES)
def test_newcomers_come_in_with_less_than_the_mean(name: str) -> None:
    found = run(name, nobody_known(LABELERS), stream())
    known = with_newcomers(found.known, 2, entry=0.5)
    assert known.weights.sum() == pytest.approx(1.0)
    assert (known.weights[LABELERS:] < known.weights[:LABELERS].mean()).all()
    slot, labeler, report, answer = stream(30, seed=3)
    labeler[labeler == 1] = LABELERS
    order = np.lexsort((labeler, slot))
    after = run(name, known, (slot[order], labeler[order], report[order], answer)).known
    assert after.weights.size == LABELERS + 2
    assert (after.slots_seen[LABELERS + 1 :] == 0).all()


def test_without_outcomes_agreement_tells_who_is_good() -> None:
    slot, labeler, report, answer = stream(1_500)
    honest = labeler < 5
    slot, labeler, report = slot[honest], labeler[honest], report[honest]
    nothing = np.full(answer.size, np.nan)
    found = run(WITHOUT_OUTCOMES, nobody_known(5), (slot, labeler, report, nothing))
    assert AGGREGATES[WITHOUT_OUTCOMES].learns_from == AGREEMENT
    heard = ~np.isnan(found.aggregates)
    mean = np.bincount(slot, report, minlength=answer.size)[heard] / np.bincount(slot, minlength=answer.size)[heard]
    right = ((found.aggregates[heard] > 0.5) == answer[heard]).mean()
    assert right > np.where(mean == 0.5, 0.5, (mean > 0.5) == answer[heard]).mean() + 0.03
    assert found.known.weights.argmax() == 0
    assert found.known.weights[4] < 0.05
    assert found.known.slots == 0


def test_selective_answering_and_staying_away_do_not_pay_under_log_odds() -> None:
    """Labeler 0 answers what it is sure of alone: that lifts its influence by a third of what it would without difficulty at most;
    and 300 slots away do not mend 50 slots of lies."""
    rng = np.random.default_rng(4)
    theta = rng.beta(0.5, 0.5, 3_000)
    outcomes = (rng.random(theta.size) < theta).astype(float)
    beliefs = np.clip(theta[:, None] + 0.2 * rng.standard_normal((theta.size, 8)), 0, 1)
    weight = []
    for sure in (0.0, 0.4):
        there = np.ones(beliefs.shape, dtype=bool)
        there[:, 0] = np.abs(beliefs[:, 0] - 0.5) >= sure
        slot, labeler = np.nonzero(there)
        known = (
            LogOdds().run(nobody_known(8), slot, labeler, beliefs[slot, labeler], outcomes, entry=0.5, rng=rng).known
        )
        weight.append(known.weights[0] * 8)
    assert weight[1] <= weight[0] * 1.05
    lies = beliefs.copy()
    lies[:50, 0] = 1 - outcomes[:50]
    there = np.ones(beliefs.shape, dtype=bool)
    there[50:, 0] = False
    known, share = nobody_known(8), []
    for first, last in ((0, 50), (50, 350)):
        slot, labeler = np.nonzero(there[first:last])
        reports = lies[first:last][slot, labeler]
        known = LogOdds().run(known, slot, labeler, reports, outcomes[first:last], entry=0.5, rng=rng).known
        share.append(known.weights[0] * 8)
    assert share[1] <= share[0] + 1e-9
    assert share[0] < 0.1


def test_a_member_that_is_added_is_a_choice_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class First(Mean):
        name: ClassVar[str] = "first_report"
        summary: ClassVar[str] = "Baseline: the first report."

    member: Aggregate = First()
    monkeypatch.setattr("crowd_assets.mechanisms.labelers.table.AGGREGATES", AGGREGATES.plus(member))
    family.cache_clear()
    try:
        assert Settings(aggregate="first_report").aggregate == "first_report"  # type: ignore[call-arg]
    finally:
        monkeypatch.undo()
        family.cache_clear()
    with pytest.raises(ValueError, match="none of log_odds"):
        Settings(aggregate="nothing_like_it")  # type: ignore[call-arg]


def test_every_member_says_what_it_is_for() -> None:
    assert {member.first for member in AGGREGATES.values()} == {"truthful first", "accurate first", "baseline"}
    for member in AGGREGATES.values():
        assert member.summary.lower().startswith(member.first.split()[0])
        assert bool(member.guarantees) == (member.first != BASELINE)
