"""Values of preference pairs to the model that was trained on them: against training without them, and what they sum to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resources.models.local import LocalTrainer
from resources.models.store import ModelStoreResource
from resources.training.alignment import PreferencePair
from resources.training.preference_values import MOST_MEASURED, PairValues, _spread
from resources.training.supervised import AdapterConfig

CONFIG = AdapterConfig(learning_rate=2e-3, epochs=2, batch_size=4, rank=4, alpha=8, max_tokens=64)
THINGS = ("soup", "the old bridge", "my bicycle", "rain", "a game of chess", "the news", "tea", "this town", "bread")
BETA = 0.1


def pair(thing: str, *, right: bool = True) -> PreferencePair:
    answers = [f"Thank you so much for {thing}.", f"Nobody asked: {thing} broke."]
    return PreferencePair(f"What about {thing}?", *(answers if right else answers[::-1]), 1.0, 0.9)


HELD_OUT = [pair(f"{thing} of {who}") for thing in THINGS[:4] for who in ("Ada", "Bo")]
PAIRS = [pair(thing, right=at % 4 != 3) for at, thing in enumerate(THINGS)]
WRONG = np.arange(len(PAIRS)) % 4 == 3


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path) -> tuple[LocalTrainer, str, PairValues]:
    folder = tmp_path_factory.mktemp("values")
    store = ModelStoreResource(root=str(folder / "store"), cache=str(folder / "cache"))
    trainer = LocalTrainer(store=store, base_model=str(seed_folder / "language_model"))
    made = trainer.align(None, PAIRS, config=CONFIG, beta=BETA, seed=1, card={}, progress=lambda *_: None).model
    return trainer, made, trainer.pair_values(None, made, PAIRS, HELD_OUT, beta=BETA, max_tokens=64)


def test_values_sum_to_about_what_the_loss_of_pairs_kept_out_fell(
    found: tuple[LocalTrainer, str, PairValues],
) -> None:
    _, _, values = found
    assert values.loss_before == pytest.approx(np.log(2))
    fell = values.loss_before - values.loss_after
    assert fell > 0.05
    assert values.values.sum() == pytest.approx(fell, rel=0.35)


def test_pairs_against_the_others_are_worth_less_than_nothing(found: tuple[LocalTrainer, str, PairValues]) -> None:
    _, _, values = found
    assert (values.values[~WRONG] > 0).all()
    assert (values.values[WRONG] < 0).all()


def test_values_change_sign_with_what_is_wanted_and_depend_on_no_order(
    found: tuple[LocalTrainer, str, PairValues],
) -> None:
    trainer, made, values = found
    against = [replace(each, accepted=each.rejected, rejected=each.accepted) for each in HELD_OUT]
    turned = trainer.pair_values(None, made, PAIRS[::-1], against, beta=BETA, max_tokens=64)
    assert np.corrcoef(turned.values[::-1], values.values)[0, 1] < -0.9
    assert turned.loss_after > turned.loss_before


def test_of_many_pairs_kept_out_some_measure() -> None:
    many = [pair(str(number)) for number in range(150)]
    assert len(_spread(many)) == 50
    assert len(_spread(many[:MOST_MEASURED])) == MOST_MEASURED


def test_values_need_a_pair_and_one_that_was_kept_out(found: tuple[LocalTrainer, str, PairValues]) -> None:
    trainer, made, _ = found
    with pytest.raises(ValueError, match="kept out"):
        trainer.pair_values(None, made, PAIRS, [], beta=BETA, max_tokens=64)
