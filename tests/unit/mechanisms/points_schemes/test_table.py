"""Points schemes: each member pays who brings the model nearer, and evidence pays nothing that no candidate has shown."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import values_of_demonstrations
from crowd_assets.mechanisms.families import Family
from crowd_assets.mechanisms.payouts import TERMS, Payouts, PayRules
from crowd_assets.mechanisms.points_schemes.base import PointsScheme, Standing, Tournament, Withheld
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.simulation.attacks import writers
from resources.common.members import choices, family
from resources.settings.settings import Settings

PEOPLE, GROUPS, DIMENSIONS = 24, 6, 10
GOOD = 12
TARGET = np.eye(DIMENSIONS)[0]


def a_campaign(step: float, rounds: int, seed: int, *, gain: float = 0.0) -> Tournament:
    """The first twelve write what is wanted, the others beside it; a candidate goes ``step`` of the way to what its members wrote."""
    rng = np.random.default_rng(seed)
    written = np.where(np.arange(PEOPLE)[:, None] < GOOD, TARGET, 0) + rng.normal(0, 0.05, (PEOPLE, DIMENSIONS))
    written[GOOD:] += 0.5 * np.eye(DIMENSIONS)[1]
    shares, embeddings, bases = [], [], []
    for _ in range(rounds):
        order = rng.permutation(PEOPLE)
        bases.append(rng.normal(0, 0.01, DIMENSIONS))
        for group in range(GROUPS):
            row = np.zeros(PEOPLE)
            row[order[group::GROUPS]] = GROUPS / PEOPLE
            shares.append(row)
            embeddings.append(step * (row @ written) + rng.normal(0, 0.01, DIMENSIONS))
    away = np.linalg.norm(np.array(embeddings) - TARGET, axis=1)
    return Tournament(
        tuple(f"{number:02d}" for number in range(PEOPLE)),
        tuple(f"r{number:06d}" for number in range(rounds)),
        np.array(shares),
        -away,
        np.full(away.size, 0.02),
        np.array(embeddings),
        np.repeat(np.arange(rounds), GROUPS),
        np.array(bases),
        np.full(rounds, gain),
        np.full(rounds, 0.01),
        np.full(rounds, gain > 0),
        written,
        np.full((rounds, PEOPLE), 16.0),
    )


def paid(seen: Tournament, scheme: str, rules: PayRules) -> np.ndarray:
    """Points (N,) of all rounds."""
    member = POINTS_SCHEMES[scheme]
    known = member.standing(seen, TARGET, np.random.default_rng(0))
    withheld = Withheld(np.zeros(seen.demonstrations.shape), np.zeros(PEOPLE, dtype=bool))
    found: np.ndarray = member.payouts(seen, known, 0, withheld, rules).points.sum(axis=0)
    return found


@pytest.mark.parametrize("name", POINTS_SCHEMES.names)
def test_who_brings_the_model_nearer_is_paid_more(name: str) -> None:
    found = paid(a_campaign(0.3, 6, 1, gain=0.1), name, PayRules(by_work=True))
    assert found[:GOOD].mean() > found[GOOD:].mean()


@pytest.mark.parametrize("rounds", [1, 3, 9])
def test_where_training_moves_nothing_the_good_are_paid_as_the_bad(rounds: int) -> None:
    apart = {
        name: np.mean(
            [
                (found[:GOOD].mean() - found[GOOD:].mean()) / rounds
                for found in (
                    paid(a_campaign(0.0, rounds, seed), name, PayRules(by_work=True, points_per_distance=100))
                    for seed in range(6)
                )
            ]
        )
        for name in ("evidence", "surrogate")
    }
    assert abs(apart["evidence"]) < 0.35
    if rounds == 1:
        assert apart["surrogate"] > 3, "texts are taken to work fully there"


def test_where_training_moves_a_candidate_evidence_pays_for_it() -> None:
    found = paid(a_campaign(0.5, 3, 0, gain=0.2), "evidence", PayRules(by_work=True, conserved=True))
    assert found[:GOOD].sum() > 0.9 * found.sum() > 0


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), names=st.integers(2, 5))
def test_a_demonstration_is_worth_the_same_under_several_names(seed: int, names: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, work = rng.normal(size=(6, 3)), np.full(6, 20.0 * names)
    one = values_of_demonstrations(
        vectors, work, np.zeros(3), empty=np.ones(3), rng=np.random.default_rng(1), draws=2000
    )
    split = values_of_demonstrations(
        np.concatenate([vectors, np.repeat(vectors[:1], names - 1, axis=0)]),
        np.concatenate([[20.0], work[1:], np.full(names - 1, 20.0)]),
        np.zeros(3),
        empty=np.ones(3),
        rng=np.random.default_rng(2),
        draws=2000,
    )
    assert split[6:] == pytest.approx(split[0])
    assert split[:6] - split[:6].mean() == pytest.approx(one - one.mean(), abs=0.15 * np.ptp(one) + 0.02)


def test_values_of_demonstrations_are_their_shapley_values() -> None:
    from itertools import permutations

    vectors, target, empty = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.zeros(2), np.array([4.0, 4.0])

    def value(members: tuple[int, ...]) -> float:
        return -float(np.linalg.norm(vectors[list(members)].mean(axis=0) if members else empty))

    # Coalitions are drawn in proportion to work, with repetition: exact for players of whom there are very many.
    exact = np.zeros(3)
    orders = list(permutations(range(3)))
    for order in orders:
        for place, player in enumerate(order):
            exact[player] += (value(order[: place + 1]) - value(order[:place])) / len(orders)
    many = values_of_demonstrations(
        vectors, np.full(3, 1.0), target, empty=empty, rng=np.random.default_rng(0), draws=4000
    )
    assert np.argsort(many).tolist() == np.argsort(exact).tolist()


def test_work_that_is_none_and_vectors_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="somebody"):
        values_of_demonstrations(np.ones((2, 2)), np.zeros(2), np.zeros(2), empty=np.zeros(2), rng=rng)
    with pytest.raises(ValueError, match="expected vectors"):
        values_of_demonstrations(np.ones((2, 2)), np.ones(3), np.zeros(2), empty=np.zeros(2), rng=rng)
    with pytest.raises(ValueError, match="finite"):
        values_of_demonstrations(np.full((2, 2), np.nan), np.ones(2), np.zeros(2), empty=np.zeros(2), rng=rng)


@dataclass(frozen=True)
class Alike:
    """The module of a toy: a point to everybody who took part, whatever came of it."""

    name: str = "alike"
    summary: str = "A point to everybody who took part in a round."
    needs: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = ()
    source: str = "a test"
    page: str = "mechanisms/points.md"
    estimates_by: str = "alike"
    every_round: bool = False

    def standing(self, seen: Tournament, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
        nothing = np.zeros(len(seen.contributors))
        return Standing(nothing, nothing + 1.0, lambda _: 0.0, nothing, lambda _: nothing)

    def payouts(self, seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
        points = seen.participated[first:].astype(np.float64)
        terms = {name: points if name == "equal_share" else np.zeros(points.shape) for name in TERMS}
        return Payouts(points, terms, np.zeros(points.shape))


@pytest.fixture
def a_row_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The table with the toy's row, for whoever looks a scheme up in it."""
    more: Family[PointsScheme] = POINTS_SCHEMES.plus(Alike())
    for module in ("crowd_assets.mechanisms.points_schemes.table", "crowd_assets.simulation.attacks.writers"):
        monkeypatch.setattr(f"{module}.POINTS_SCHEMES", more)
    family.cache_clear()
    yield
    family.cache_clear()


def test_a_toy_scheme_is_a_module_and_a_row(a_row_more: None) -> None:
    chosen = Settings(points_scheme="alike")  # type: ignore[call-arg]
    assert choices(Settings.model_fields["points_scheme"]) == (*POINTS_SCHEMES.names, "alike")
    rules = replace(writers.shipped(chosen), deposit=0.0, read=0.0)
    assert rules.scheme == "alike"
    crowd = writers.honest_writers(np.random.default_rng(1), writers.EPOCH)
    paid = writers.play(crowd, rules, np.random.default_rng(2))
    took_part = (crowd.sent > 0).sum(axis=0)
    assert paid[0] / paid[0].max() == pytest.approx(took_part / took_part.max())


def test_without_its_row_the_toy_is_no_choice() -> None:
    with pytest.raises(ValueError, match="'alike' is none of"):
        Settings(points_scheme="alike")  # type: ignore[call-arg]
