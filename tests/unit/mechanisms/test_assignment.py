"""Assignment: pairs stay open until they are known, nobody gets what is not for them, and checks find who does not look."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.mechanisms.assignment import (
    ASK,
    CAREFUL,
    CHECK,
    ERROR,
    asking_value,
    assigned,
    checked_people,
    hidden_places,
    is_open,
    pauses_lifted,
    vote_evidence,
)

seeds = st.integers(0, 2**32 - 1)


def test_a_pair_is_asked_until_it_is_known_and_not_past_the_cap() -> None:
    accuracy = np.full(3, 0.8)
    agree, split = vote_evidence(np.ones(3), accuracy), vote_evidence(np.array([1.0, 0.0, 1.0]), accuracy)
    evidence = np.array([0.0, agree[0], agree[:2].sum(), split[:2].sum(), split.sum()])
    judged = np.array([0, 1, 2, 2, 5])
    still = is_open(evidence, judged, confidence=0.9, least=1, most=5)
    assert still.tolist() == [True, True, False, True, False]
    assert is_open(evidence, judged, confidence=0.9, least=3, most=5).tolist() == [True, True, True, True, False]


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_more_evidence_for_the_leading_side_never_opens_a_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    evidence, judged = rng.normal(0, 3, 20), rng.integers(0, 8, 20)
    once = is_open(evidence, judged, confidence=0.9, least=2, most=6)
    more = is_open(evidence + np.sign(evidence) * rng.random(20), judged + 1, confidence=0.9, least=2, most=6)
    assert not (more & ~once).any()
    value = asking_value(evidence, judged)
    assert (value >= 0).all()
    assert asking_value(np.zeros(1), np.zeros(1, dtype=np.int64)) == pytest.approx(1.0)


@settings(max_examples=80, deadline=None)
@given(seed=seeds)
def test_nobody_gets_what_is_not_for_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs, people = int(rng.integers(1, 30)), int(rng.integers(1, 8))
    wanted, load = rng.integers(0, 4, pairs), rng.integers(0, 6, people)
    value = np.where(rng.random(pairs) < 0.2, 0.0, rng.random(pairs))
    who, what = np.nonzero(rng.random((people, pairs)) < 0.3)
    found = assigned(value, wanted, rng.random(people), load, excluded=(who, what), rng=rng)
    assert (np.bincount(found.person, minlength=people) <= load).all()
    assert (np.bincount(found.pair, minlength=pairs) <= wanted).all()
    given_out = set(zip(found.person.tolist(), found.pair.tolist(), strict=True))
    assert len(given_out) == found.person.size
    assert not given_out & set(zip(who.tolist(), what.tolist(), strict=True))
    assert (value[found.pair] > 0).all()
    # Nobody who has room is refused a pair that still wants somebody.
    left = wanted - np.bincount(found.pair, minlength=pairs)
    barred = np.zeros((people, pairs), dtype=bool)
    barred[who, what] = True
    barred[found.person, found.pair] = True
    room = np.bincount(found.person, minlength=people) < load
    assert not (room[:, None] & (left > 0) & (value > 0) & ~barred).any()


def test_the_ablest_get_the_most_valuable_pairs() -> None:
    found = assigned(
        np.array([0.1, 0.9, 0.5]),
        np.ones(3, dtype=np.int64),
        np.array([0.6, 0.9]),
        np.array([1, 1]),
        rng=np.random.default_rng(0),
    )
    assert list(zip(found.person, found.pair, strict=True)) == [(1, 1), (0, 2)]


def test_one_person_among_a_hundred_thousand_pairs_is_served_whatever_it_has_judged() -> None:
    pairs, rng = 100_000, np.random.default_rng(0)
    value = rng.random(pairs)
    judged = np.argsort(-value)[:5_000]
    found = assigned(
        value,
        np.full(pairs, 3),
        np.ones(1),
        np.array([20]),
        excluded=(np.zeros(judged.size, dtype=np.int64), judged),
        rng=rng,
    )
    assert found.pair.tolist() == np.argsort(-value)[5_000:5_020].tolist()


def test_checks_are_hidden_at_their_rate_in_no_place_more_than_in_another() -> None:
    rng = np.random.default_rng(1)
    drawn = np.stack([hidden_places(10, checks=0.2, repeats=0.1, rng=rng) for _ in range(4_000)])
    share = (drawn == CHECK).mean(axis=0)
    assert np.abs(share - 0.2).max() < 4 * math.sqrt(0.2 * 0.8 / 4_000)
    assert (drawn == ASK).mean() == pytest.approx(0.7, abs=0.02)


def test_coin_flippers_are_paused_soon_and_careful_people_hardly_ever() -> None:
    rng = np.random.default_rng(2)
    people, checks = 2_000, 200
    person = np.tile(np.arange(people), checks)
    for accuracy, at_most in ((CAREFUL, ERROR), (0.97, ERROR / 2)):
        right = (rng.random(person.size) < accuracy).astype(float)
        assert checked_people(person, right, people=people).paused.mean() <= at_most
    coin = (rng.random(person.size) < 0.5).astype(float).reshape(checks, people)
    needed = np.full(people, checks)
    for number in range(60, 3, -1):
        paused = checked_people(np.tile(np.arange(people), number), coin[:number].ravel(), people=people).paused
        needed[paused] = number
    assert needed.mean() <= 12


def test_newcomers_qualify_before_they_are_paused() -> None:
    wrong = np.zeros(6)
    early = checked_people(np.zeros(6, dtype=np.int64), wrong, people=2, qualification=10)
    assert not early.paused[0]
    assert not early.qualified.any()
    late = checked_people(np.zeros(6, dtype=np.int64), wrong, people=2, qualification=5)
    assert late.paused.tolist() == [True, False]
    assert checked_people(np.zeros(6, dtype=np.int64), 1 - wrong, people=1, qualification=5).qualified[0]


def test_a_pause_is_lifted_by_an_appeal_and_good_answers() -> None:
    paused, appealed = np.array([True, True, True, False]), np.array([True, True, False, True])
    lifted = pauses_lifted(paused, appealed, np.array([6, 2, 6, 6]), np.array([6, 6, 6, 6]))
    assert lifted.tolist() == [True, False, False, False]
    assert not pauses_lifted(paused, appealed, np.full(4, 3), np.full(4, 3)).any()


def test_arguments_that_make_no_sense_are_refused() -> None:
    one, rng = np.ones(1, dtype=np.int64), np.random.default_rng(0)
    with pytest.raises(ValueError, match="confidence"):
        is_open(np.zeros(1), one, confidence=0.4, least=1, most=2)
    with pytest.raises(ValueError, match="least"):
        is_open(np.zeros(1), one, confidence=0.9, least=3, most=2)
    with pytest.raises(ValueError, match="not negative"):
        assigned(-np.ones(1), one, np.ones(1), one, rng=rng)
    with pytest.raises(ValueError, match="wants of each pair"):
        assigned(np.ones(2), one, np.ones(1), one, rng=rng)
    with pytest.raises(ValueError, match="does not exist"):
        assigned(np.ones(1), one, np.ones(1), one, excluded=(np.array([1]), np.array([0])), rng=rng)
    with pytest.raises(ValueError, match="at most 1"):
        hidden_places(3, checks=0.8, repeats=0.3, rng=rng)
    with pytest.raises(ValueError, match="between wrong"):
        checked_people(np.array([2]), np.ones(1), people=1)
    with pytest.raises(ValueError, match="careful"):
        checked_people(np.array([0]), np.ones(1), people=1, careful=0.5)
    with pytest.raises(ValueError, match="as many right answers"):
        pauses_lifted(np.array([True]), np.array([True]), np.array([2]), np.array([1]))
