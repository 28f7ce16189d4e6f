"""Attacks of writers: cheating pays where nothing stops it, and each defence stops what it is for."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.attacks import gains
from crowd_assets.mechanisms.payouts import PayRules
from crowd_assets.simulation.attacks import payoffs as attacks
from crowd_assets.simulation.attacks import writers
from crowd_assets.simulation.attacks.writers import DEFENDED, OURS, WRITERS_ATTACKS, Rules
from tests.unit.simulation.attacks.seeds import SEEDS


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


def test_texts_that_look_perfect_and_move_no_model_earn_nothing_and_did_while_texts_were_believed() -> None:
    assert writers_gain("inflated_attribution", replace(writers.AS_SHIPPED, scheme="proven")) < -0.5
    assert writers_gain("inflated_attribution", writers.AS_SHIPPED) > 0, "the control"
