"""What a round draws by is known to nobody outside before the round after it is settled, and to every audit afterwards."""

from datetime import UTC, datetime

import numpy as np

from crowd_assets.round.procurement import audited_of
from crowd_assets.round.randomness import generator_for, seed_for, shown_keys
from resources.rounds.book import Round
from resources.rounds.secret import commitment, round_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def round_(number: int, secret: bytes | None = None) -> Round:
    keys = (round_key(secret, number - 1), commitment(round_key(secret, number))) if secret else (None, None)
    return Round(number, f"r{number:06d}", 1, 2, "settled", 1, None, number, None, None, NOW, *keys)


def audited(by: Round) -> set[str]:
    tasks = [{"comparison_id": str(number)} for number in range(40)]
    return {task["comparison_id"] for task in audited_of(tasks, 0.25, generator_for(by, "audits"))}


def predicted_share(secret: bytes | None) -> float:
    """Share of the comparisons audited in 20 rounds that somebody predicts who knows the code and that CROWD_SEED is 0."""
    hits = everything = 0
    for number in range(1, 21):
        guess, truth = audited(round_(number)), audited(round_(number, secret))
        hits, everything = hits + len(guess & truth), everything + len(truth)
    return hits / everything


def test_a_labeler_predicts_every_audit_by_the_seed_and_by_the_key_no_more_than_chance() -> None:
    assert predicted_share(None) == 1.0
    assert predicted_share(b"a secret") < 0.4


def test_each_purpose_of_a_key_has_draws_of_its_own_and_the_same_again() -> None:
    keyed = round_(1, b"a secret")
    assert seed_for(keyed, "one") == seed_for(keyed, "one") != seed_for(keyed, "other")
    assert 0 <= seed_for(keyed, "one") < 2**32
    drawn = [
        generator_for(each, "one").random(4) for each in (keyed, keyed, round_(2, b"a secret"), round_(1, b"another"))
    ]
    assert (drawn[0] == drawn[1]).all()
    assert not any(np.array_equal(drawn[0], each) for each in drawn[2:])


def test_a_key_is_shown_when_nothing_is_left_to_guess_by_it() -> None:
    rounds = [round_(number, b"a secret") for number in (1, 2)]
    first, second = shown_keys(rounds[0], rounds), shown_keys(rounds[1], rounds)
    assert not any("key" in row for row in first)
    assert second[-1] == {"round_id": "r000001", "key": rounds[0].key}
    assert commitment(str(rounds[1].key)) == first[0]["next_commitment"]
    assert shown_keys(round_(1), [round_(1)]) == []
